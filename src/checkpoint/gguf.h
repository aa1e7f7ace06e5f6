// A mapped GGUF file (version 2 or 3, little-endian): typed metadata, tensor descriptions, then the tensors' bytes.
// Knows the container only; what names and values mean is in gguf_names, gguf_config and gguf_tokenizer.
// Immutable once opened; views stay valid as long as the GgufFile. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "base/tensor.h"
#include "checkpoint/gguf_dequantize.h"

namespace intaglio::checkpoint {

struct GgufTensor {
  GgmlType type = GgmlType::kF32;
  Shape shape;  // outermost first, as everywhere here (the file has it innermost first)
  std::span<const std::byte> bytes;
};

class GgufFile {
 public:
  // Throws Error: kNotFound, kIo; kDataLoss for a malformed file; kUnsupported for other versions, byte orders and tensor types.
  [[nodiscard]] static GgufFile Open(const std::filesystem::path& path);
  // The same over bytes that outlive the result; `where` begins error messages.
  [[nodiscard]] static GgufFile Parse(std::span<const std::byte> bytes, std::string where);

  // Metadata; nullopt if absent. Throw Error kDataLoss for a value of another type.
  [[nodiscard]] bool has(std::string_view key) const { return values_.find(key) != values_.end(); }
  [[nodiscard]] bool is_array(std::string_view key) const;
  [[nodiscard]] std::optional<int64_t> Int(std::string_view key) const;
  // An f32 is widened to the double of its shortest decimal form: 1e-6f gives 1e-6.
  [[nodiscard]] std::optional<double> Float(std::string_view key) const;
  [[nodiscard]] std::optional<bool> Bool(std::string_view key) const;
  [[nodiscard]] std::optional<std::string_view> String(std::string_view key) const;
  [[nodiscard]] std::optional<std::vector<std::string_view>> Strings(std::string_view key) const;
  [[nodiscard]] std::optional<std::vector<float>> Floats(std::string_view key) const;
  [[nodiscard]] std::optional<std::vector<int64_t>> Ints(std::string_view key) const;  // integers or truth values

  // "llama", "gemma3", …: general.architecture.
  [[nodiscard]] std::string architecture() const;
  [[nodiscard]] const std::map<std::string, GgufTensor>& tensors() const noexcept { return tensors_; }
  [[nodiscard]] const std::string& where() const noexcept { return where_; }
  [[nodiscard]] std::span<const std::byte> header() const noexcept { return header_; }  // all before the tensors' bytes
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }    // the whole file

 private:
  // Numbered as in the file.
  enum class Type : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };
  struct Value {
    Type type = Type::kU8;  // of the elements
    bool is_array = false;
    uint64_t count = 1;
    std::span<const std::byte> bytes;
  };
  class Parser;

  GgufFile() = default;
  [[nodiscard]] const Value* Find(std::string_view key, bool is_array) const;
  [[noreturn]] void FailType(std::string_view key, std::string_view expected) const;
  [[nodiscard]] int64_t IntAt(std::string_view key, const Value& value, uint64_t index) const;

  MappedFile file_;
  std::string where_;
  std::span<const std::byte> bytes_, header_;
  std::map<std::string, Value, std::less<>> values_;
  std::map<std::string, GgufTensor> tensors_;
};

}  // namespace intaglio::checkpoint
