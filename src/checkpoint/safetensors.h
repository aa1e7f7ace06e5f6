// A mapped .safetensors file: an 8-byte little-endian header length, a JSON header, then the tensors' bytes without gap or overlap.
// Every statement of the header is checked against the file's size before a view is handed out.
// Immutable once opened; views stay valid as long as the SafetensorsFile. Format: https://github.com/huggingface/safetensors
#pragma once
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "base/tensor.h"

namespace intaglio::checkpoint {

class SafetensorsFile {
 public:
  // Throws Error: kNotFound, kIo; kDataLoss for a malformed file; kUnsupported for element types that DType lacks.
  [[nodiscard]] static SafetensorsFile Open(const std::filesystem::path& path);
  // The same over bytes that outlive the result; `where` begins error messages.
  [[nodiscard]] static SafetensorsFile Parse(std::span<const std::byte> bytes, std::string where);

  [[nodiscard]] const std::vector<std::string>& names() const noexcept { return names_; }  // sorted
  [[nodiscard]] bool has(const std::string& name) const { return tensors_.contains(name); }
  // Throws Error kNotFound, naming the nearest names there are.
  [[nodiscard]] const TensorView& tensor(const std::string& name) const;
  [[nodiscard]] std::span<const std::byte> header() const noexcept { return header_; }  // length field and JSON
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }    // the whole file

 private:
  SafetensorsFile() = default;

  MappedFile file_;
  std::string where_;
  std::span<const std::byte> bytes_, header_;
  std::map<std::string, TensorView> tensors_;
  std::vector<std::string> names_;
};

// "F32", "BF16", …: how the format spells a type.
[[nodiscard]] std::string SafetensorsTypeName(DType dtype);

}  // namespace intaglio::checkpoint
