// The two forms in which floats travel (Wire in collectives.h).
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/dtype.h"
#include "collectives/collectives.h"

namespace intaglio::collectives {

[[nodiscard]] inline int64_t BytesOf(Wire wire) { return wire == Wire::kBf16 ? sizeof(uint16_t) : sizeof(float); }   // of one float

// Writes values.size() * BytesOf(wire) bytes, of which `to` has at least so many; aligned to 4.
inline void Pack(std::span<const float> values, Wire wire, std::byte* to) noexcept {
  if (wire == Wire::kBf16) {
    std::ranges::transform(values, reinterpret_cast<uint16_t*>(to), F32ToBf16);
  } else {
    std::ranges::copy(values, reinterpret_cast<float*>(to));
  }
}

inline void Unpack(const std::byte* from, Wire wire, std::span<float> values) noexcept {
  if (wire == Wire::kBf16) {
    std::transform(reinterpret_cast<const uint16_t*>(from), reinterpret_cast<const uint16_t*>(from) + values.size(), values.data(), Bf16ToF32);
  } else {
    std::copy_n(reinterpret_cast<const float*>(from), values.size(), values.data());
  }
}

// What packing and unpacking makes of `values`.
inline void Round(std::span<float> values, Wire wire) noexcept {
  if (wire != Wire::kBf16) return;
  for (float& value : values) value = Bf16ToF32(F32ToBf16(value));
}

}  // namespace intaglio::collectives
