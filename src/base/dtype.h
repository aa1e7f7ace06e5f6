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
enum class DType : uint8_t { kF32 = 0, kF16 = 1, kBF16 = 2, kI32 = 3, kU8 = 4, kI8 = 5, kI64 = 6, kF64 = 7, kBool = 8, kI16 = 9 };

// Bytes of one element.
[[nodiscard]] size_t SizeOf(DType dtype);
// "f32", "bf16", …: the spelling of command lines, manifests and error messages.
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
// An element of MXFP4 (OCP Microscaling formats 1.0): a 4-bit float (sign, two bits of exponent, one of mantissa) times 2^(exponent - 127).
// Exponent 255 is NaN. Exact.   REQUIRES: bits < 16
[[nodiscard]] float Mxfp4ToF32(uint8_t bits, uint8_t exponent);

}  // namespace intaglio
