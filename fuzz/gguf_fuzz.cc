// Any bytes as a .gguf file: an Error, or a checkpoint whose config, tokenizer and every row can be read.
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "checkpoint/gguf_checkpoint.h"
#include "checkpoint/gguf_tokenizer.h"
#include "checkpoint/rows.h"
#include "intaglio/error.h"

namespace {

using namespace intaglio;

void ReadAll(const checkpoint::Checkpoint& checkpoint) {
  std::vector<float> row;
  std::vector<uint16_t> row_bits;
  for (const std::string& name : checkpoint.tensor_names()) {
    const auto size = checkpoint::AsMatrix(checkpoint.shape(name));
    row.resize(static_cast<size_t>(size.columns));
    // First and last rows reach every edge; a tensor without columns may state any number of rows.
    for (const int64_t i : {int64_t{0}, size.rows / 2, size.rows - 1}) {
      if (i < 0 || i >= size.rows) continue;
      checkpoint.ReadRows(name, i, 1, row);
      if (!checkpoint.is_bf16(name)) continue;
      row_bits.resize(row.size());
      checkpoint.ReadRowsBf16(name, i, 1, row_bits);
    }
  }
}

// The tokenizer alone too, so that it is reached without a config that makes sense.
void ReadTokenizer(std::span<const std::byte> bytes) {
  try {
    (void)checkpoint::GgufTokenizerFiles(checkpoint::GgufFile::Parse(bytes, "file"));
  } catch (const Error&) {}
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  ReadTokenizer(bytes);
  try {
    const auto checkpoint = checkpoint::OpenGguf(checkpoint::GgufFile::Parse(bytes, "file"));
    (void)checkpoint->digest();
    ReadAll(*checkpoint);
  } catch (const Error&) {}
  return 0;
}
