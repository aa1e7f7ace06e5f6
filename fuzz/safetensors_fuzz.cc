// Any bytes as a .safetensors file: an Error, or views that lie within the bytes.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "checkpoint/rows.h"
#include "checkpoint/safetensors.h"
#include "intaglio/error.h"

namespace {

using namespace intaglio;

// Reads the first and last byte, so that the sanitizer sees a view that leaves the file.
void Touch(const checkpoint::SafetensorsFile& file, const std::string& name) {
  const TensorView& tensor = file.tensor(name);
  const auto size = checkpoint::AsMatrix(tensor.shape);
  if (static_cast<size_t>(size.rows * size.columns) * SizeOf(tensor.dtype) != tensor.bytes.size()) std::abort();
  if (tensor.bytes.empty()) return;
  const volatile auto first = tensor.bytes.front(), last = tensor.bytes.back();
  (void)first, (void)last;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto file = checkpoint::SafetensorsFile::Parse(std::as_bytes(std::span(data, size)), "file");
    for (const std::string& name : file.names()) Touch(file, name);
    (void)checkpoint::FileDigest(file.header(), file.bytes());
    (void)file.tensor("a name that is not there");
  } catch (const Error&) {}
  return 0;
}
