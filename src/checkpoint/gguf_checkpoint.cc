#include "checkpoint/gguf_checkpoint.h"

#include <cstring>
#include <utility>

#include "base/assert.h"
#include "base/fail.h"
#include "checkpoint/gguf_config.h"
#include "checkpoint/gguf_names.h"
#include "checkpoint/gguf_quantized.h"
#include "checkpoint/gguf_tokenizer.h"
#include "checkpoint/hf_config.h"
#include "checkpoint/json.h"
#include "checkpoint/nearest_names.h"
#include "checkpoint/rows.h"

namespace intaglio::checkpoint {
namespace {

// llama.cpp stores the rows of a rotary head pair by pair, Hugging Face half by half.
struct HeadPermutation {
  int64_t head_rows = 0;  // 0: stored as in Hugging Face

  // Where row `row` of Hugging Face's order lies in the file.
  [[nodiscard]] int64_t StoredRow(int64_t row) const {
    if (head_rows == 0) return row;
    const int64_t in_head = row % head_rows, half = head_rows / 2;
    return row - in_head + 2 * (in_head % half) + in_head / half;
  }
};

struct Entry {
  const GgufTensor* tensor = nullptr;
  HeadPermutation permutation;
  bool is_shifted = false;  // stored as 1 + w
};

class GgufCheckpoint final : public Checkpoint {
 public:
  explicit GgufCheckpoint(GgufFile file) : file_(std::move(file)), config_json_(GgufConfigJson(file_)), companions_(GgufTokenizerFiles(file_)) {
    const HfConfig config = HfConfig::Parse(config_json_, file_.where());
    const std::string architecture = file_.architecture();
    for (const auto& [stored_name, tensor] : file_.tensors()) {
      const GgufRename rename = RenameGgufTensor(architecture, stored_name, file_.where());
      if (rename.name.empty()) continue;
      Entry entry;
      entry.tensor = &tensor;
      entry.is_shifted = rename.transform == GgufTransform::kMinusOne;
      if (rename.transform == GgufTransform::kUnpermuteQuery) entry.permutation = Permutation(stored_name, tensor, config.Int("num_attention_heads"));
      if (rename.transform == GgufTransform::kUnpermuteKey) entry.permutation = Permutation(stored_name, tensor, config.Int("num_key_value_heads"));
      entries_.emplace(rename.name, entry);
    }
    for (const auto& [name, entry] : entries_) names_.push_back(name);
  }

  const std::string& config_json() const override { return config_json_; }
  const std::map<std::string, std::string>& companion_files() const override { return companions_; }
  const std::vector<std::string>& tensor_names() const override { return names_; }
  bool has(const std::string& name) const override { return entries_.contains(name); }
  Shape shape(const std::string& name) const override { return Find(name).tensor->shape; }
  std::string stored_type(const std::string& name) const override { return std::string(Info(Find(name).tensor->type).name); }

  bool is_bf16(const std::string& name) const override {
    const Entry& entry = Find(name);
    return entry.tensor->type == GgmlType::kBF16 && !entry.is_shifted;
  }

  void ReadRows(const std::string& name, int64_t begin, int64_t count, std::span<float> out) const override {
    const Entry& entry = Find(name);
    const GgmlType type = entry.tensor->type;
    ForEachRun(entry, begin, count, out, [&](std::span<const std::byte> blocks, std::span<float> run) { Dequantize(type, blocks, run); });
    if (!entry.is_shifted) return;
    for (float& value : out) value -= 1.0f;
  }

  void ReadRowsBf16(const std::string& name, int64_t begin, int64_t count, std::span<uint16_t> out) const override {
    Assert(is_bf16(name));
    ForEachRun(Find(name), begin, count, out, [](std::span<const std::byte> blocks, std::span<uint16_t> run) {
      if (!blocks.empty()) std::memcpy(run.data(), blocks.data(), blocks.size());
    });
  }

  std::optional<DType> quantized_type(const std::string& name) const override {
    const Entry& entry = Find(name);
    return entry.is_shifted ? std::nullopt : QuantizedType(entry.tensor->type);
  }

  void AppendQuantized(const std::string& name, const MatrixPart& part, QuantizedRows& rows) const override {
    const Entry& entry = Find(name);
    const GgmlTypeInfo& info = Info(entry.tensor->type);
    const MatrixSize size = AsMatrix(entry.tensor->shape);
    const int64_t block_k = info.block_elements, block_bytes = info.block_bytes, row_bytes = size.columns / block_k * block_bytes;
    Assert(part.row >= 0 && part.count >= 0 && part.row <= size.rows && part.count <= size.rows - part.row && part.first_k % block_k == 0 &&
           part.num_k % block_k == 0 && part.first_k >= 0 && part.num_k >= 0 && part.num_k <= size.columns - part.first_k);
    for (int64_t row = part.row; row < part.row + part.count; ++row) {
      const int64_t begin = entry.permutation.StoredRow(row) * row_bytes + part.first_k / block_k * block_bytes;
      AppendBlocks(info.type, entry.tensor->bytes.subspan(static_cast<size_t>(begin), static_cast<size_t>(part.num_k / block_k * block_bytes)), rows);
    }
  }

  std::string digest() const override { return FileDigest(file_.header(), file_.bytes()); }

 private:
  const Entry& Find(const std::string& name) const {
    const auto found = entries_.find(name);
    if (found == entries_.end()) FailUnknownTensor(file_.where(), name, names_);
    return found->second;
  }

  HeadPermutation Permutation(const std::string& name, const GgufTensor& tensor, int64_t num_heads) const {
    const int64_t rows = tensor.shape.empty() ? 1 : tensor.shape[0];
    Require(rows % (2 * num_heads) == 0 && rows > 0, ErrorCode::kDataLoss, file_.where(), ": tensor ", Quoted(name), " is ", tensor.shape, ", which ",
            num_heads, " heads of even size do not divide");
    Require(tensor.shape.size() > 1 || Info(tensor.type).block_elements == 1, ErrorCode::kUnsupported, file_.where(), ": bias ", Quoted(name),
            " is stored as ", Info(tensor.type).name, "; expected F32, F16 or BF16");
    return {.head_rows = rows / num_heads};
  }

  // Calls read(blocks, run of out) for each stretch of stored rows that makes up rows [begin, begin + count).
  template <typename T, typename Read>
  static void ForEachRun(const Entry& entry, int64_t begin, int64_t count, std::span<T> out, const Read& read) {
    const GgufTensor& tensor = *entry.tensor;
    const GgmlTypeInfo& info = Info(tensor.type);
    MatrixSize size = AsMatrix(tensor.shape);
    Assert(begin >= 0 && count >= 0 && begin <= size.rows && count <= size.rows - begin);
    Assert(out.size() == static_cast<size_t>(count * size.columns));
    if (tensor.shape.size() < 2 && entry.permutation.head_rows != 0) {  // the elements of a bias are permuted like rows
      begin *= size.columns;
      count *= size.columns;
      size = {.rows = size.columns, .columns = 1};
    }
    const auto columns = static_cast<size_t>(size.columns);
    const size_t row_bytes = columns / info.block_elements * info.block_bytes;
    const int64_t run_rows = entry.permutation.head_rows == 0 ? count : 1;
    for (int64_t row = 0; row < count; row += run_rows) {
      const auto stored = static_cast<size_t>(entry.permutation.StoredRow(begin + row));
      const auto rows = static_cast<size_t>(run_rows);
      read(tensor.bytes.subspan(stored * row_bytes, rows * row_bytes), out.subspan(static_cast<size_t>(row) * columns, rows * columns));
    }
  }

  GgufFile file_;
  std::string config_json_;
  std::map<std::string, std::string> companions_;
  std::map<std::string, Entry> entries_;  // by Hugging Face's name
  std::vector<std::string> names_;
};

}  // namespace

std::unique_ptr<Checkpoint> OpenGguf(GgufFile file) { return std::make_unique<GgufCheckpoint>(std::move(file)); }

}  // namespace intaglio::checkpoint
