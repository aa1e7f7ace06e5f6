#include "base/dtype.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <limits>
#include <ostream>

#include "base/assert.h"

namespace intaglio {
namespace {

struct DTypeInfo {
  DType dtype;
  std::string_view name;
  size_t bytes;
};
constexpr DTypeInfo kDTypes[]{{DType::kF32, "f32", 4},
                              {DType::kF16, "f16", 2},
                              {DType::kBF16, "bf16", 2},
                              {DType::kI32, "i32", 4},
                              {DType::kU8, "u8", 1},
                              {DType::kI8, "i8", 1},
                              {DType::kI64, "i64", 8},
                              {DType::kF64, "f64", 8},
                              {DType::kBool, "bool", 1},
                              {DType::kI16, "i16", 2},
                              {DType::kQ8_0, "q8_0", 0},
                              {DType::kInt8G64, "int8g64", 0},
                              {DType::kInt8G128, "int8g128", 0},
                              {DType::kQ4_0, "q4_0", 0},
                              {DType::kQ4_1, "q4_1", 0},
                              {DType::kInt4G64, "int4g64", 0},
                              {DType::kInt4G128, "int4g128", 0},
                              {DType::kQ5_0, "q5_0", 0},
                              {DType::kQ5_1, "q5_1", 0},
                              {DType::kQ2_K, "q2_k", 0},
                              {DType::kQ3_K, "q3_k", 0},
                              {DType::kQ4_K, "q4_k", 0},
                              {DType::kQ5_K, "q5_k", 0},
                              {DType::kQ6_K, "q6_k", 0},
                              {DType::kMxfp4, "mxfp4", 0}};

const DTypeInfo& Info(DType dtype) {
  const auto* info = std::ranges::find(kDTypes, dtype, &DTypeInfo::dtype);
  Assert(info != std::end(kDTypes));
  return *info;
}

}  // namespace

size_t SizeOf(DType dtype) {
  Assert(!IsQuantized(dtype));
  return Info(dtype).bytes;
}
std::string_view Name(DType dtype) { return Info(dtype).name; }

std::optional<DType> DTypeFromName(std::string_view name) {
  for (const DTypeInfo& info : kDTypes) {
    if (info.name == name) return info.dtype;
  }
  return std::nullopt;
}

std::ostream& operator<<(std::ostream& out, DType dtype) { return out << Name(dtype); }

float F16ToF32(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1fu;
  const uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24, exact in f32
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
  }
  const uint32_t wide_exponent = exponent == 31 ? 255u : exponent + 112u;
  return std::bit_cast<float>(sign | (wide_exponent << 23) | (mantissa << 13));
}

uint16_t F32ToF16(float value) {
  constexpr uint32_t kInfinity = 0x7f800000u, kBeyondLargest = 0x477ff000u, kLeastNormal = 0x38800000u, kExponentShift = 112u << 23;
  const uint32_t bits = std::bit_cast<uint32_t>(value), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > kInfinity) return static_cast<uint16_t>(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
  if (magnitude >= kBeyondLargest) return static_cast<uint16_t>(sign | 0x7c00u);
  if (magnitude < kLeastNormal) {   // the last place of 0.5 is 2^-24, as that of a subnormal
    const uint32_t rounded = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - std::bit_cast<uint32_t>(0.5f);
    return static_cast<uint16_t>(sign | rounded);
  }
  const uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
  return static_cast<uint16_t>(sign | (rounded - kExponentShift) >> 13);
}

float Mxfp4ToF32(uint8_t bits, uint8_t exponent) {
  constexpr std::array<float, 8> kMagnitudes{0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
  if (exponent == 255) return std::numeric_limits<float>::quiet_NaN();
  const float magnitude = std::ldexp(kMagnitudes[bits & 7u], exponent - 127);
  return (bits & 8u) != 0 ? -magnitude : magnitude;
}

}  // namespace intaglio
