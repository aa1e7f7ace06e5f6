// Sixteen floats as bytes, on their way into steps of four k (dot.h); and the largest of unsigned integers.
#pragma once
#include "kernels/isa/simd.h"

namespace intaglio::kernels::INTAGLIO_ISA {

#if INTAGLIO_ISA_avx512 || INTAGLIO_ISA_avx2

struct Bytes16 {
  __m128i v;
};
INTAGLIO_INLINE Bytes16 NoBytes() { return {_mm_setzero_si128()}; }
INTAGLIO_INLINE int32_t SumBytes(Bytes16 q) {
  constexpr int kOffset = 128;
  const __m128i sums = _mm_sad_epu8(_mm_xor_si128(q.v, _mm_set1_epi8(static_cast<char>(kOffset))), _mm_setzero_si128());
  return _mm_cvtsi128_si32(sums) + _mm_extract_epi16(sums, 4) - kLanes * kOffset;
}
// The four steps, each `stride` bytes after the one before.
template <int64_t kStepBytes> INTAGLIO_INLINE void StoreSteps(Bytes16 q, std::byte* to, int64_t stride) {
  if constexpr (kStepBytes == 4) {
    const int32_t steps[4] = {_mm_extract_epi32(q.v, 0), _mm_extract_epi32(q.v, 1), _mm_extract_epi32(q.v, 2), _mm_extract_epi32(q.v, 3)};
    INTAGLIO_UNROLL for (int i = 0; i < 4; ++i) std::memcpy(to + i * stride, &steps[i], 4);
  } else {
    const __m128i evens_first = _mm_shuffle_epi8(q.v, _mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15));
    const __m128i low = _mm_cvtepi8_epi16(evens_first), high = _mm_cvtepi8_epi16(_mm_srli_si128(evens_first, 8));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), low);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to + stride), _mm_srli_si128(low, 8));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to + 2 * stride), high);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to + 3 * stride), _mm_srli_si128(high, 8));
  }
}

#else

struct Bytes16 {
  int8_t v[kLanes];
};
INTAGLIO_INLINE Bytes16 NoBytes() { return {}; }
INTAGLIO_INLINE int32_t SumBytes(const Bytes16& q) {
  int32_t sum = 0;
  for (const int8_t value : q.v) sum += value;
  return sum;
}
template <int64_t kStepBytes> INTAGLIO_INLINE void StoreSteps(const Bytes16& q, std::byte* to, int64_t stride) {
  static_assert(kStepBytes == 4);
  for (int64_t i = 0; i < 4; ++i) std::memcpy(to + i * stride, q.v + 4 * i, 4);
}

#endif

// To the nearest integer, ties to even.   REQUIRES: |x| < 127.5
#if INTAGLIO_ISA_avx512
INTAGLIO_INLINE Bytes16 RoundToBytes(F32 x) { return {_mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x.v))}; }
INTAGLIO_INLINE U32 Largest(U32 a, U32 b) { return {_mm512_max_epu32(a.v, b.v)}; }
INTAGLIO_INLINE uint32_t LargestLane(U32 x) {
  const __m256i a = _mm256_max_epu32(_mm512_castsi512_si256(x.v), _mm512_extracti64x4_epi64(x.v, 1));
  __m128i b = _mm_max_epu32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  b = _mm_max_epu32(b, _mm_unpackhi_epi64(b, b));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(_mm_max_epu32(b, _mm_shuffle_epi32(b, 1))));
}
#elif INTAGLIO_ISA_avx2
INTAGLIO_INLINE Bytes16 RoundToBytes(F32 x) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)), 0xd8);
  return {_mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1))};
}
INTAGLIO_INLINE U32 Largest(U32 x, U32 y) { return {_mm256_max_epu32(x.a, y.a), _mm256_max_epu32(x.b, y.b)}; }
INTAGLIO_INLINE uint32_t LargestLane(U32 x) {
  const __m256i a = _mm256_max_epu32(x.a, x.b);
  __m128i b = _mm_max_epu32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  b = _mm_max_epu32(b, _mm_unpackhi_epi64(b, b));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(_mm_max_epu32(b, _mm_shuffle_epi32(b, 1))));
}
#else
INTAGLIO_INLINE Bytes16 RoundToBytes(const F32& x) {
  Bytes16 q;
  for (int i = 0; i < kLanes; ++i) q.v[i] = static_cast<int8_t>(std::nearbyint(x.v[i]));
  return q;
}
INTAGLIO_INLINE U32 Largest(const U32& x, const U32& y) {
  U32 r;
  for (int i = 0; i < kLanes; ++i) r.v[i] = x.v[i] > y.v[i] ? x.v[i] : y.v[i];
  return r;
}
INTAGLIO_INLINE uint32_t LargestLane(const U32& x) {
  uint32_t largest = 0;
  for (const uint32_t lane : x.v) largest = lane > largest ? lane : largest;
  return largest;
}
#endif

}  // namespace intaglio::kernels::INTAGLIO_ISA
