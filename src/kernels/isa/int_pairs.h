// Integer dot products of pairs: a lane holds two int16, and a product of two lanes is the int32 sum of both products. Sums of integers are
// exact, so they are the same bits in any order and at every level.
#pragma once
#include <bit>
#include <limits>

#include "kernels/isa/simd.h"

namespace intaglio::kernels::INTAGLIO_ISA {

#if INTAGLIO_ISA_avx512

struct Pairs {
  __m512i v;
};
struct I32 {
  __m512i v;
};
INTAGLIO_INLINE I32 ZeroI32() { return {_mm512_setzero_si512()}; }
// 16 pairs of int8, widened.
INTAGLIO_INLINE Pairs LoadBytePairs(const std::byte* p) { return {_mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))}; }
// The same pair in all lanes.
INTAGLIO_INLINE Pairs SetPair(const int16_t* p) {
  int32_t pair;
  std::memcpy(&pair, p, sizeof pair);
  return {_mm512_set1_epi32(pair)};
}
// Pinned, or GCC reassociates sums of integers and spills.
INTAGLIO_INLINE I32 AddProducts(I32 sum, Pairs x, Pairs y) {
#if INTAGLIO_VNNI
  return {_mm512_dpwssd_epi32(sum.v, x.v, y.v)};
#else
  __m512i v = _mm512_add_epi32(sum.v, _mm512_madd_epi16(x.v, y.v));
  asm volatile("" : "+v"(v));
  return {v};
#endif
}
INTAGLIO_INLINE F32 ToF32(I32 x) { return {_mm512_cvtepi32_ps(x.v)}; }
// The lower halves of the lanes.
INTAGLIO_INLINE void StoreLowerHalves(int16_t* p, U32 x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(x.v)); }
INTAGLIO_INLINE void Pin(Pairs& x) { asm volatile("" : "+v"(x.v)); }

#elif INTAGLIO_ISA_avx2

struct Pairs {
  __m256i a, b;
};
struct I32 {
  __m256i a, b;
};
INTAGLIO_INLINE I32 ZeroI32() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
INTAGLIO_INLINE __m256i WidenBytes(const std::byte* p) { return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
INTAGLIO_INLINE Pairs LoadBytePairs(const std::byte* p) { return {WidenBytes(p), WidenBytes(p + 16)}; }
INTAGLIO_INLINE Pairs SetPair(const int16_t* p) {
  int32_t pair;
  std::memcpy(&pair, p, sizeof pair);
  return {_mm256_set1_epi32(pair), _mm256_set1_epi32(pair)};
}
INTAGLIO_INLINE I32 AddProducts(I32 sum, Pairs x, Pairs y) {
  __m256i a = _mm256_add_epi32(sum.a, _mm256_madd_epi16(x.a, y.a)), b = _mm256_add_epi32(sum.b, _mm256_madd_epi16(x.b, y.b));
  asm volatile("" : "+x"(a), "+x"(b));
  return {a, b};
}
INTAGLIO_INLINE F32 ToF32(I32 x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
INTAGLIO_INLINE void StoreLowerHalves(int16_t* p, U32 x) {
  const __m256i low = _mm256_set1_epi32(0xffff);
  const __m256i packed = _mm256_packus_epi32(_mm256_and_si256(x.a, low), _mm256_and_si256(x.b, low));   // within 128-bit halves
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(packed, 0xd8));
}
INTAGLIO_INLINE void Pin(Pairs& x) { asm volatile("" : "+x"(x.a), "+x"(x.b)); }

#else  // scalar

struct Pairs {
  int16_t v[16][2];
};
struct I32 {
  int32_t v[16];
};
INTAGLIO_INLINE I32 ZeroI32() { return {}; }
INTAGLIO_INLINE Pairs LoadBytePairs(const std::byte* p) {
  Pairs r;
  for (int i = 0; i < kLanes; ++i) {
    r.v[i][0] = static_cast<int8_t>(p[2 * i]);
    r.v[i][1] = static_cast<int8_t>(p[2 * i + 1]);
  }
  return r;
}
INTAGLIO_INLINE Pairs SetPair(const int16_t* p) {
  Pairs r;
  for (int i = 0; i < kLanes; ++i) {
    r.v[i][0] = p[0];
    r.v[i][1] = p[1];
  }
  return r;
}
INTAGLIO_INLINE I32 AddProducts(const I32& sum, const Pairs& x, const Pairs& y) {
  I32 r;
  for (int i = 0; i < kLanes; ++i) r.v[i] = sum.v[i] + x.v[i][0] * y.v[i][0] + x.v[i][1] * y.v[i][1];
  return r;
}
INTAGLIO_INLINE F32 ToF32(const I32& x) {
  F32 r;
  for (int i = 0; i < kLanes; ++i) r.v[i] = static_cast<float>(x.v[i]);
  return r;
}
INTAGLIO_INLINE void StoreLowerHalves(int16_t* p, const U32& x) {
  for (int i = 0; i < kLanes; ++i) p[i] = static_cast<int16_t>(static_cast<uint16_t>(x.v[i]));
}
INTAGLIO_INLINE void Pin(Pairs&) {}

#endif

// x * inverse, rounded to the nearest integer, even on a tie: x + 1.5 * 2^23 has it in its low bits.   REQUIRES: |x * inverse| < 2^15
INTAGLIO_INLINE void StoreRounded(int16_t* p, F32 x, F32 inverse) { StoreLowerHalves(p, Bits(Fma(x, inverse, Set(12582912.0f)))); }

// The largest of `n` magnitudes; NaN if there is one. Bits of magnitudes compare as integers, NaN above all.
INTAGLIO_INLINE float LargestMagnitude(const float* x, int64_t n) {
  uint32_t largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t magnitude = std::bit_cast<uint32_t>(x[i]) & 0x7fffffffu;
    largest = magnitude > largest ? magnitude : largest;
  }
  return std::bit_cast<float>(largest);
}

// What integers of at most `limit` are to be multiplied with, and numbers are to be multiplied with to become such integers.
struct IntScale {
  float scale, inverse;
};
// Numbers that are all below 1e-30 become zeros, whose inverse scale would not be a number. If there is an infinity or a NaN they become zeros
// with the scale NaN.
INTAGLIO_INLINE IntScale ScaleOf(float largest, float limit) {
  if (largest < 1e-30f) return {0.0f, 0.0f};
  if (!(largest <= std::numeric_limits<float>::max())) return {std::numeric_limits<float>::quiet_NaN(), 0.0f};
  return {largest / limit, limit / largest};
}

// Rounds a row to integers of at most `limit` and returns their scale; `integers` has room for whole lanes, and gets zeros past n.
inline float RoundRow(const float* x, int64_t n, float limit, int16_t* integers) {
  const IntScale scale = ScaleOf(LargestMagnitude(x, n), limit);
  for (int64_t i = 0; i < n; i += kLanes) {
    if (scale.inverse == 0) {
      StoreLowerHalves(integers + i, SetU32(0));
    } else {
      StoreRounded(integers + i, LoadFirst(x + i, LanesLeft(i, n)), Set(scale.inverse));
    }
  }
  return scale.scale;
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
