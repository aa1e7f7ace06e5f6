// Sixteen f32 lanes, the same at every level: one AVX-512 register, two of AVX2, or an array. Every operation is IEEE and
// lane by lane, so results are the same bits everywhere: multiply and add are separate unless Fma says otherwise, division and
// square root are the real ones, and the folds of SumLanes and MaxLanes are fixed (8, 4, 2, 1). U32 is sixteen unsigned integers
// that wrap, for bit patterns and the random generator.
// Included only by the sources in this folder, which are compiled once per level.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/kernel.h"
#if !INTAGLIO_ISA_scalar
// GCC 12 takes the deliberately undefined registers of its own intrinsics for a mistake (GCC bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif

#define INTAGLIO_INLINE inline __attribute__((always_inline))
#define INTAGLIO_UNROLL _Pragma("GCC unroll 16")

namespace intaglio::kernels::INTAGLIO_ISA {

#if INTAGLIO_ISA_avx512

struct F32 {
  __m512 v;
};
INTAGLIO_INLINE F32 Zero() { return {_mm512_setzero_ps()}; }
INTAGLIO_INLINE F32 Set(float x) { return {_mm512_set1_ps(x)}; }
INTAGLIO_INLINE F32 Load(const float* p) { return {_mm512_loadu_ps(p)}; }
INTAGLIO_INLINE void Store(float* p, F32 x) { _mm512_storeu_ps(p, x.v); }
// Lanes [0, n) from memory, the others zero; n in [0, 16]. Touches only those n floats, like StoreFirst.
INTAGLIO_INLINE F32 LoadFirst(const float* p, int n) { return {_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1u), p)}; }
INTAGLIO_INLINE void StoreFirst(float* p, F32 x, int n) { _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1u), x.v); }
INTAGLIO_INLINE F32 Add(F32 a, F32 b) { return {_mm512_add_ps(a.v, b.v)}; }
INTAGLIO_INLINE F32 Sub(F32 a, F32 b) { return {_mm512_sub_ps(a.v, b.v)}; }
INTAGLIO_INLINE F32 Mul(F32 a, F32 b) { return {_mm512_mul_ps(a.v, b.v)}; }
INTAGLIO_INLINE F32 Div(F32 a, F32 b) { return {_mm512_div_ps(a.v, b.v)}; }
INTAGLIO_INLINE F32 Sqrt(F32 a) { return {_mm512_sqrt_ps(a.v)}; }
INTAGLIO_INLINE F32 Fma(F32 a, F32 b, F32 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
// a > b ? a : b (the second operand when either is NaN), as maxps; Min likewise.
INTAGLIO_INLINE F32 Max(F32 a, F32 b) { return {_mm512_max_ps(a.v, b.v)}; }
INTAGLIO_INLINE F32 Min(F32 a, F32 b) { return {_mm512_min_ps(a.v, b.v)}; }
// Even and odd k of a packed bf16 row ([16][2]).
INTAGLIO_INLINE F32 LoadBf16Even(const std::byte* p) { return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16))}; }
INTAGLIO_INLINE F32 LoadBf16Odd(const std::byte* p) {
  return {_mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32(static_cast<int>(0xffff0000u))))};
}
// x * 2^n, where the low bits of `magic` (n + 1.5 * 2^23) hold n: an integer add to the exponent field.
INTAGLIO_INLINE F32 ScaleByExponent(F32 x, F32 magic) {
  return {_mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x.v), _mm512_slli_epi32(_mm512_castps_si512(magic.v), 23)))};
}
// if_true where a < b, else if_false.
INTAGLIO_INLINE F32 SelectLess(F32 a, F32 b, F32 if_true, F32 if_false) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), if_false.v, if_true.v)};
}
INTAGLIO_INLINE float First(F32 x) { return _mm512_cvtss_f32(x.v); }
INTAGLIO_INLINE float SumLanes(F32 x) {
  const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1));
  __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  b = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(b, _mm_shuffle_ps(b, b, 1)));
}
INTAGLIO_INLINE float MaxLanes(F32 x) {
  const __m256 a = _mm256_max_ps(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1));
  __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  b = _mm_max_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_max_ss(b, _mm_shuffle_ps(b, b, 1)));
}

struct U32 {
  __m512i v;
};
INTAGLIO_INLINE U32 SetU32(uint32_t x) { return {_mm512_set1_epi32(static_cast<int>(x))}; }
INTAGLIO_INLINE U32 LoadU32(const uint32_t* p) { return {_mm512_loadu_si512(p)}; }
INTAGLIO_INLINE void Store(uint32_t* p, U32 x) { _mm512_storeu_si512(p, x.v); }
INTAGLIO_INLINE U32 Add(U32 a, U32 b) { return {_mm512_add_epi32(a.v, b.v)}; }
INTAGLIO_INLINE U32 And(U32 a, U32 b) { return {_mm512_and_si512(a.v, b.v)}; }
INTAGLIO_INLINE U32 Or(U32 a, U32 b) { return {_mm512_or_si512(a.v, b.v)}; }
INTAGLIO_INLINE U32 Xor(U32 a, U32 b) { return {_mm512_xor_si512(a.v, b.v)}; }
template <int kBits> INTAGLIO_INLINE U32 ShiftRight(U32 a) { return {_mm512_srli_epi32(a.v, kBits)}; }
template <int kBits> INTAGLIO_INLINE U32 ShiftLeft(U32 a) { return {_mm512_slli_epi32(a.v, kBits)}; }
// The halves of the 64-bit products. REQUIRES: all lanes of b are equal.
INTAGLIO_INLINE void MultiplyWide(U32 a, U32 b, U32* high, U32* low) {
  const __m512i even = _mm512_mul_epu32(a.v, b.v), odd = _mm512_mul_epu32(_mm512_srli_epi64(a.v, 32), b.v);
  *low = {_mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(odd, 32))};
  *high = {_mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 32), odd)};
}
INTAGLIO_INLINE U32 Bits(F32 x) { return {_mm512_castps_si512(x.v)}; }
INTAGLIO_INLINE F32 FromBits(U32 x) { return {_mm512_castsi512_ps(x.v)}; }
// The integers as floats. REQUIRES: below 2^31 (exact below 2^24).
INTAGLIO_INLINE F32 ToF32(U32 x) { return {_mm512_cvtepi32_ps(x.v)}; }
// Whether a >= b in any lane (never where either is NaN).
INTAGLIO_INLINE bool AnyAtLeast(F32 a, F32 b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ) != 0; }
// Keeps a loaded value in its register: without it GCC loads it again as a memory operand of every use, and the load ports saturate.
INTAGLIO_INLINE void Pin(F32& x) { asm volatile("" : "+v"(x.v)); }

#elif INTAGLIO_ISA_avx2

struct F32 {
  __m256 a, b;
};
INTAGLIO_INLINE F32 Zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
INTAGLIO_INLINE F32 Set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
INTAGLIO_INLINE F32 Load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
INTAGLIO_INLINE void Store(float* p, F32 x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
INTAGLIO_INLINE __m256i FirstMask(int n) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }
INTAGLIO_INLINE F32 LoadFirst(const float* p, int n) { return {_mm256_maskload_ps(p, FirstMask(n)), _mm256_maskload_ps(p + 8, FirstMask(n - 8))}; }
INTAGLIO_INLINE void StoreFirst(float* p, F32 x, int n) {
  _mm256_maskstore_ps(p, FirstMask(n), x.a);
  _mm256_maskstore_ps(p + 8, FirstMask(n - 8), x.b);
}
INTAGLIO_INLINE F32 Add(F32 x, F32 y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
INTAGLIO_INLINE F32 Sub(F32 x, F32 y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
INTAGLIO_INLINE F32 Mul(F32 x, F32 y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
INTAGLIO_INLINE F32 Div(F32 x, F32 y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
INTAGLIO_INLINE F32 Sqrt(F32 x) { return {_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)}; }
INTAGLIO_INLINE F32 Fma(F32 x, F32 y, F32 z) { return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
INTAGLIO_INLINE F32 Max(F32 x, F32 y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
INTAGLIO_INLINE F32 Min(F32 x, F32 y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
INTAGLIO_INLINE __m256 Bf16Even(const std::byte* p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), 16));
}
INTAGLIO_INLINE __m256 Bf16Odd(const std::byte* p) {
  return _mm256_castsi256_ps(
      _mm256_and_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
}
INTAGLIO_INLINE F32 LoadBf16Even(const std::byte* p) { return {Bf16Even(p), Bf16Even(p + 32)}; }
INTAGLIO_INLINE F32 LoadBf16Odd(const std::byte* p) { return {Bf16Odd(p), Bf16Odd(p + 32)}; }
INTAGLIO_INLINE __m256 ScaleHalf(__m256 x, __m256 magic) {
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), _mm256_slli_epi32(_mm256_castps_si256(magic), 23)));
}
INTAGLIO_INLINE F32 ScaleByExponent(F32 x, F32 magic) { return {ScaleHalf(x.a, magic.a), ScaleHalf(x.b, magic.b)}; }
INTAGLIO_INLINE F32 SelectLess(F32 x, F32 y, F32 if_true, F32 if_false) {
  return {_mm256_blendv_ps(if_false.a, if_true.a, _mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ)),
          _mm256_blendv_ps(if_false.b, if_true.b, _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ))};
}
INTAGLIO_INLINE float First(F32 x) { return _mm256_cvtss_f32(x.a); }
INTAGLIO_INLINE float SumLanes(F32 x) {
  const __m256 a = _mm256_add_ps(x.a, x.b);
  __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  b = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(b, _mm_shuffle_ps(b, b, 1)));
}
INTAGLIO_INLINE float MaxLanes(F32 x) {
  const __m256 a = _mm256_max_ps(x.a, x.b);
  __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  b = _mm_max_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_max_ss(b, _mm_shuffle_ps(b, b, 1)));
}

struct U32 {
  __m256i a, b;
};
INTAGLIO_INLINE U32 SetU32(uint32_t x) { return {_mm256_set1_epi32(static_cast<int>(x)), _mm256_set1_epi32(static_cast<int>(x))}; }
INTAGLIO_INLINE U32 LoadU32(const uint32_t* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 8))};
}
INTAGLIO_INLINE void Store(uint32_t* p, U32 x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x.a);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), x.b);
}
INTAGLIO_INLINE U32 Add(U32 x, U32 y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
INTAGLIO_INLINE U32 And(U32 x, U32 y) { return {_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)}; }
INTAGLIO_INLINE U32 Or(U32 x, U32 y) { return {_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)}; }
INTAGLIO_INLINE U32 Xor(U32 x, U32 y) { return {_mm256_xor_si256(x.a, y.a), _mm256_xor_si256(x.b, y.b)}; }
template <int kBits> INTAGLIO_INLINE U32 ShiftRight(U32 x) { return {_mm256_srli_epi32(x.a, kBits), _mm256_srli_epi32(x.b, kBits)}; }
template <int kBits> INTAGLIO_INLINE U32 ShiftLeft(U32 x) { return {_mm256_slli_epi32(x.a, kBits), _mm256_slli_epi32(x.b, kBits)}; }
INTAGLIO_INLINE void MultiplyHalf(__m256i x, __m256i y, __m256i* high, __m256i* low) {
  const __m256i even = _mm256_mul_epu32(x, y), odd = _mm256_mul_epu32(_mm256_srli_epi64(x, 32), y);
  *low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
  *high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
}
INTAGLIO_INLINE void MultiplyWide(U32 x, U32 y, U32* high, U32* low) {
  MultiplyHalf(x.a, y.a, &high->a, &low->a);
  MultiplyHalf(x.b, y.b, &high->b, &low->b);
}
INTAGLIO_INLINE U32 Bits(F32 x) { return {_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)}; }
INTAGLIO_INLINE F32 FromBits(U32 x) { return {_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)}; }
INTAGLIO_INLINE F32 ToF32(U32 x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
INTAGLIO_INLINE bool AnyAtLeast(F32 x, F32 y) {
  return _mm256_movemask_ps(_mm256_or_ps(_mm256_cmp_ps(x.a, y.a, _CMP_GE_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_GE_OQ))) != 0;
}
INTAGLIO_INLINE void Pin(F32& x) { asm volatile("" : "+x"(x.a), "+x"(x.b)); }

#else  // scalar

struct F32 {
  float v[16];
};
#define INTAGLIO_LANES for (int i = 0; i < 16; ++i)
INTAGLIO_INLINE float BitsToFloat(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
INTAGLIO_INLINE uint32_t FloatToBits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}
INTAGLIO_INLINE F32 Set(float x) {
  F32 r;
  INTAGLIO_LANES r.v[i] = x;
  return r;
}
INTAGLIO_INLINE F32 Zero() { return Set(0.0f); }
INTAGLIO_INLINE F32 Load(const float* p) {
  F32 r;
  std::memcpy(r.v, p, sizeof r.v);
  return r;
}
INTAGLIO_INLINE void Store(float* p, const F32& x) { std::memcpy(p, x.v, sizeof x.v); }
INTAGLIO_INLINE F32 LoadFirst(const float* p, int n) {
  F32 r;
  INTAGLIO_LANES r.v[i] = i < n ? p[i] : 0.0f;
  return r;
}
INTAGLIO_INLINE void StoreFirst(float* p, const F32& x, int n) {
  for (int i = 0; i < n; ++i) p[i] = x.v[i];
}
INTAGLIO_INLINE F32 Add(const F32& x, const F32& y) {
  F32 r;
  INTAGLIO_LANES r.v[i] = x.v[i] + y.v[i];
  return r;
}
INTAGLIO_INLINE F32 Sub(const F32& x, const F32& y) {
  F32 r;
  INTAGLIO_LANES r.v[i] = x.v[i] - y.v[i];
  return r;
}
INTAGLIO_INLINE F32 Mul(const F32& x, const F32& y) {
  F32 r;
  INTAGLIO_LANES r.v[i] = x.v[i] * y.v[i];
  return r;
}
INTAGLIO_INLINE F32 Div(const F32& x, const F32& y) {
  F32 r;
  INTAGLIO_LANES r.v[i] = x.v[i] / y.v[i];
  return r;
}
INTAGLIO_INLINE F32 Sqrt(const F32& x) {
  F32 r;
  INTAGLIO_LANES r.v[i] = std::sqrt(x.v[i]);
  return r;
}
INTAGLIO_INLINE F32 Fma(const F32& x, const F32& y, const F32& z) {
  F32 r;
  INTAGLIO_LANES r.v[i] = std::fma(x.v[i], y.v[i], z.v[i]);
  return r;
}
INTAGLIO_INLINE F32 Max(const F32& x, const F32& y) {
  F32 r;
  INTAGLIO_LANES r.v[i] = x.v[i] > y.v[i] ? x.v[i] : y.v[i];
  return r;
}
INTAGLIO_INLINE F32 Min(const F32& x, const F32& y) {
  F32 r;
  INTAGLIO_LANES r.v[i] = x.v[i] < y.v[i] ? x.v[i] : y.v[i];
  return r;
}
INTAGLIO_INLINE F32 LoadBf16(const std::byte* p, int parity) {
  F32 r;
  INTAGLIO_LANES {
    uint16_t bits;
    std::memcpy(&bits, p + 4 * i + 2 * parity, 2);
    r.v[i] = BitsToFloat(static_cast<uint32_t>(bits) << 16);
  }
  return r;
}
INTAGLIO_INLINE F32 LoadBf16Even(const std::byte* p) { return LoadBf16(p, 0); }
INTAGLIO_INLINE F32 LoadBf16Odd(const std::byte* p) { return LoadBf16(p, 1); }
INTAGLIO_INLINE F32 ScaleByExponent(const F32& x, const F32& magic) {
  F32 r;
  INTAGLIO_LANES r.v[i] = BitsToFloat(FloatToBits(x.v[i]) + (FloatToBits(magic.v[i]) << 23));
  return r;
}
INTAGLIO_INLINE F32 SelectLess(const F32& x, const F32& y, const F32& if_true, const F32& if_false) {
  F32 r;
  INTAGLIO_LANES r.v[i] = x.v[i] < y.v[i] ? if_true.v[i] : if_false.v[i];
  return r;
}
INTAGLIO_INLINE float First(const F32& x) { return x.v[0]; }
INTAGLIO_INLINE float SumLanes(F32 x) {
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) x.v[i] = x.v[i] + x.v[i + half];
  }
  return x.v[0];
}
INTAGLIO_INLINE float MaxLanes(F32 x) {
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) x.v[i] = x.v[i] > x.v[i + half] ? x.v[i] : x.v[i + half];
  }
  return x.v[0];
}

struct U32 {
  uint32_t v[16];
};
INTAGLIO_INLINE U32 SetU32(uint32_t x) {
  U32 r;
  INTAGLIO_LANES r.v[i] = x;
  return r;
}
INTAGLIO_INLINE U32 LoadU32(const uint32_t* p) {
  U32 r;
  std::memcpy(r.v, p, sizeof r.v);
  return r;
}
INTAGLIO_INLINE void Store(uint32_t* p, const U32& x) { std::memcpy(p, x.v, sizeof x.v); }
INTAGLIO_INLINE U32 Add(const U32& x, const U32& y) {
  U32 r;
  INTAGLIO_LANES r.v[i] = x.v[i] + y.v[i];
  return r;
}
INTAGLIO_INLINE U32 And(const U32& x, const U32& y) {
  U32 r;
  INTAGLIO_LANES r.v[i] = x.v[i] & y.v[i];
  return r;
}
INTAGLIO_INLINE U32 Or(const U32& x, const U32& y) {
  U32 r;
  INTAGLIO_LANES r.v[i] = x.v[i] | y.v[i];
  return r;
}
INTAGLIO_INLINE U32 Xor(const U32& x, const U32& y) {
  U32 r;
  INTAGLIO_LANES r.v[i] = x.v[i] ^ y.v[i];
  return r;
}
template <int kBits> INTAGLIO_INLINE U32 ShiftRight(const U32& x) {
  U32 r;
  INTAGLIO_LANES r.v[i] = x.v[i] >> kBits;
  return r;
}
template <int kBits> INTAGLIO_INLINE U32 ShiftLeft(const U32& x) {
  U32 r;
  INTAGLIO_LANES r.v[i] = x.v[i] << kBits;
  return r;
}
INTAGLIO_INLINE void MultiplyWide(const U32& x, const U32& y, U32* high, U32* low) {
  INTAGLIO_LANES {
    const uint64_t product = static_cast<uint64_t>(x.v[i]) * y.v[i];
    high->v[i] = static_cast<uint32_t>(product >> 32);
    low->v[i] = static_cast<uint32_t>(product);
  }
}
INTAGLIO_INLINE U32 Bits(const F32& x) {
  U32 r;
  INTAGLIO_LANES r.v[i] = FloatToBits(x.v[i]);
  return r;
}
INTAGLIO_INLINE F32 FromBits(const U32& x) {
  F32 r;
  INTAGLIO_LANES r.v[i] = BitsToFloat(x.v[i]);
  return r;
}
INTAGLIO_INLINE F32 ToF32(const U32& x) {
  F32 r;
  INTAGLIO_LANES r.v[i] = static_cast<float>(static_cast<int32_t>(x.v[i]));
  return r;
}
INTAGLIO_INLINE bool AnyAtLeast(const F32& x, const F32& y) {
  bool any = false;
  INTAGLIO_LANES any |= x.v[i] >= y.v[i];
  return any;
}
INTAGLIO_INLINE void Pin(F32&) {}
#undef INTAGLIO_LANES

#endif

// 0, 1, …, 15.
INTAGLIO_INLINE F32 LaneIndex() {
  alignas(64) static constexpr float kIndex[kLanes] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return Load(kIndex);
}
INTAGLIO_INLINE U32 LaneIndexU32() {
  alignas(64) static constexpr uint32_t kIndex[kLanes] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return LoadU32(kIndex);
}
// How many of the lanes that start at column `i` lie before `end`: 16, or fewer at a row's tail.
INTAGLIO_INLINE int LanesLeft(int64_t i, int64_t end) { return end - i < kLanes ? static_cast<int>(end - i) : kLanes; }

}  // namespace intaglio::kernels::INTAGLIO_ISA
