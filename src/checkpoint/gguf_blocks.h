// The bytes of GGML's blocks, for whoever takes them apart. Members are byte arrays, so a struct has no padding and may lie at any address;
// d is a scale and m (dmin) an offset, both f16. Layouts as in ggml-common.h.
#pragma once
#include <array>
#include <cstdint>
#include <cstring>

#include "base/dtype.h"

namespace intaglio::checkpoint {

using Half = std::array<uint8_t, 2>;
inline constexpr int kSmallBlock = 32, kSuperBlock = 256;

struct BlockF16 {
  Half value;
};
struct BlockBF16 {
  Half value;
};
struct BlockQ4_0 {
  Half d;
  uint8_t quants[16];
};  // low nibbles: elements 0-15, high: 16-31
struct BlockQ4_1 {
  Half d, m;
  uint8_t quants[16];
};
struct BlockQ5_0 {
  Half d;
  uint8_t high[4];
  uint8_t quants[16];
};  // bit i of high: fifth bit of element i
struct BlockQ5_1 {
  Half d, m;
  uint8_t high[4];
  uint8_t quants[16];
};
struct BlockQ8_0 {
  Half d;
  int8_t quants[32];
};
struct BlockQ2K {
  uint8_t scales[16];
  uint8_t quants[64];
  Half d, dmin;
};  // scales: low nibble scale, high nibble offset
struct BlockQ3K {
  uint8_t high[32];
  uint8_t quants[64];
  uint8_t scales[12];
  Half d;
};
struct BlockQ4K {
  Half d, dmin;
  uint8_t scales[12];
  uint8_t quants[128];
};
struct BlockQ5K {
  Half d, dmin;
  uint8_t scales[12];
  uint8_t high[32];
  uint8_t quants[128];
};
struct BlockQ6K {
  uint8_t low[128];
  uint8_t high[64];
  int8_t scales[16];
  Half d;
};

inline float Widen(Half half) {
  uint16_t bits = 0;
  std::memcpy(&bits, half.data(), sizeof bits);
  return F16ToF32(bits);
}

// The fifth bits of elements i and i + 16, each as 0 or 16.
struct FifthBits {
  uint32_t bits = 0;
  explicit FifthBits(const uint8_t (&high)[4]) { std::memcpy(&bits, high, sizeof bits); }
  [[nodiscard]] int low(int i) const { return static_cast<int>((bits >> i) << 4 & 16); }
  [[nodiscard]] int high(int i) const { return static_cast<int>((bits >> (i + 16)) << 4 & 16); }
};

// The scale and offset of group 0-7 in the twelve bytes that Q4_K and Q5_K share: six bits each, the later groups' upper two bits
// above those of the earlier groups.
struct ScaleAndMin {
  int scale, min;
};
inline ScaleAndMin SixBits(const uint8_t (&scales)[12], int group) {
  if (group < 4) return {scales[group] & 63, scales[group + 4] & 63};
  return {(scales[group + 4] & 15) | (scales[group - 4] >> 6) << 4, (scales[group + 4] >> 4) | (scales[group] >> 6) << 4};
}

}  // namespace intaglio::checkpoint
