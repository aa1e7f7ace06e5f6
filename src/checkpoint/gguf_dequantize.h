// GGML's element types: how many bytes a block takes, and the values it stands for. Pure functions.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace intaglio::checkpoint {

// Numbered as in GGUF files.
enum class GgmlType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kBF16 = 30
};

struct GgmlTypeInfo {
  GgmlType type;
  std::string_view name;   // "Q4_K"
  uint32_t block_elements;  // a row is a whole number of blocks
  uint32_t block_bytes;
};

// nullopt for types that cannot be read here.
[[nodiscard]] std::optional<GgmlTypeInfo> FindGgmlType(uint32_t number);
// REQUIRES: a type of the enum.
[[nodiscard]] const GgmlTypeInfo& Info(GgmlType type);
// The name of any type of the format, readable here or not; "unknown" beyond that.
[[nodiscard]] std::string_view GgmlTypeName(uint32_t number);

// The values of whole blocks, bit for bit those of llama.cpp and of the Python package `gguf`.
// REQUIRES: blocks.size() / block_bytes * block_elements == out.size()
void Dequantize(GgmlType type, std::span<const std::byte> blocks, std::span<float> out);

}  // namespace intaglio::checkpoint
