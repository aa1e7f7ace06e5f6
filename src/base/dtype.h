// Element types, and the conversions between them that are defined bit by bit.
#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string_view>

namespace intaglio {

// Embedded in bundles: do not renumber.
enum class DType : uint8_t {
  kF32 = 0,
  kF16 = 1,
  kBF16 = 2,
  kI32 = 3,
  kU8 = 4,
  kI8 = 5,
  kI64 = 6,
  kF64 = 7,
  kBool = 8,
  kI16 = 9,
  // Weights in groups that share a scale (kernels/quant_format.h): those of GGUF by its names, and our own.
  kQ8_0 = 16,       // also int8 in groups of 32
  kInt8G64 = 17,
  kInt8G128 = 18,
  kQ4_0 = 19,
  kQ4_1 = 20,       // also int4 in groups of 32
  kInt4G64 = 21,
  kInt4G128 = 22,
  kQ5_0 = 23,
  kQ5_1 = 24,
  kQ2_K = 25,
  kQ3_K = 26,
  kQ4_K = 27,
  kQ5_K = 28,
  kQ6_K = 29,
  kMxfp4 = 30
};

// Whether elements share scales, so that one alone has no bytes of its own.
[[nodiscard]] constexpr bool IsQuantized(DType dtype) { return dtype >= DType::kQ8_0; }
// Bytes of one element.   REQUIRES: !IsQuantized(dtype)
[[nodiscard]] size_t SizeOf(DType dtype);
// "f32", "bf16", "q4_0", "int8g64", …: the spelling of command lines, manifests and error messages.
[[nodiscard]] std::string_view Name(DType dtype);
[[nodiscard]] std::optional<DType> DTypeFromName(std::string_view name);
std::ostream& operator<<(std::ostream& out, DType dtype);

// bfloat16 is the upper half of an f32.
[[nodiscard]] inline float Bf16ToF32(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
// Round to nearest even; NaN stays NaN (quiet).
[[nodiscard]] inline uint16_t F32ToBf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16) | 0x0040u : rounded);
}
// IEEE binary16, subnormals and infinities included.
[[nodiscard]] float F16ToF32(uint16_t bits);
// Round to nearest even, to infinity beyond the largest; NaN stays NaN (quiet).
[[nodiscard]] uint16_t F32ToF16(float value);
// An element of MXFP4 (OCP Microscaling formats 1.0): a 4-bit float (sign, two bits of exponent, one of mantissa) times 2^(exponent - 127).
// Exponent 255 is NaN. Exact.   REQUIRES: bits < 16
[[nodiscard]] float Mxfp4ToF32(uint8_t bits, uint8_t exponent);

}  // namespace intaglio
