// GGUF files put together piece by piece, right or wrong as a test wants them.
#pragma once
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/gguf.h"

namespace intaglio::checkpoint {

template <typename T>
std::string Raw(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

inline std::string Text(std::string_view text) { return Raw<uint64_t>(text.size()) + std::string(text); }

// Metadata entries: key, type number, value.
inline std::string U32(std::string_view key, uint32_t value) { return Text(key) + Raw<uint32_t>(4) + Raw(value); }
inline std::string F32(std::string_view key, float value) { return Text(key) + Raw<uint32_t>(6) + Raw(value); }
inline std::string Bool(std::string_view key, bool value) { return Text(key) + Raw<uint32_t>(7) + Raw<uint8_t>(value ? 1 : 0); }
inline std::string String(std::string_view key, std::string_view value) { return Text(key) + Raw<uint32_t>(8) + Text(value); }
template <typename T>
std::string Array(std::string_view key, uint32_t type, const std::vector<T>& values) {
  std::string bytes = Text(key) + Raw<uint32_t>(9) + Raw(type) + Raw<uint64_t>(values.size());
  for (const T& value : values) bytes += Raw(value);
  return bytes;
}
inline std::string Strings(std::string_view key, const std::vector<std::string>& values) {
  std::string bytes = Text(key) + Raw<uint32_t>(9) + Raw<uint32_t>(8) + Raw<uint64_t>(values.size());
  for (const std::string& value : values) bytes += Text(value);
  return bytes;
}
inline std::string Floats(std::string_view key, const std::vector<float>& values) { return Array(key, 6, values); }
inline std::string Ints(std::string_view key, const std::vector<int32_t>& values) { return Array(key, 5, values); }

// A tensor's description; sizes innermost first, as in the file.
inline std::string Describe(std::string_view name, const std::vector<uint64_t>& sizes, uint32_t type, uint64_t offset) {
  std::string bytes = Text(name) + Raw(static_cast<uint32_t>(sizes.size()));
  for (const uint64_t size : sizes) bytes += Raw(size);
  return bytes + Raw(type) + Raw(offset);
}

// A whole file: the counts come from the lists, the padding from the alignment of 32.
inline std::string GgufBytes(const std::vector<std::string>& metadata, const std::vector<std::string>& tensors = {}, size_t data_bytes = 0,
                             uint32_t version = 3) {
  std::string bytes = "GGUF" + Raw(version) + Raw<uint64_t>(tensors.size()) + Raw<uint64_t>(metadata.size());
  for (const std::string& entry : metadata) bytes += entry;
  for (const std::string& tensor : tensors) bytes += tensor;
  if (!tensors.empty()) bytes.append((32 - bytes.size() % 32) % 32, '\0');
  return bytes + std::string(data_bytes, 'x');
}

// `bytes` must outlive the result.
inline GgufFile ParseGguf(const std::string& bytes) { return GgufFile::Parse(std::as_bytes(std::span(bytes)), "file"); }

}  // namespace intaglio::checkpoint
