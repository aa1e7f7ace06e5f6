// Exact sums of integer products: 16 columns in lanes, four k a lane and step, weights u8 times activations s8, sums in 32 bits.
// With VNNI a step is one instruction. Without it, weights of at most 6 bits are multiplied into 16 bits by maddubs, several steps before
// they are widened; weights of 8 bits are first split into even and odd k of 16 bits, and so are their activations. The sums are the same.
#pragma once
#include "kernels/isa/simd.h"

namespace intaglio::kernels::INTAGLIO_ISA {

// Keeps an accumulator in its register, and its additions in order: GCC regroups additions of integers, and runs out of registers.
template <typename T> INTAGLIO_INLINE void Keep(T& accumulator) { asm volatile("" : "+x"(accumulator)); }

#if INTAGLIO_VNNI || !(INTAGLIO_ISA_avx2 || INTAGLIO_ISA_avx512)
inline constexpr bool kWidensBytes = false;
#else
inline constexpr bool kWidensBytes = true;
#endif

// Bytes of a row's activations of one step: s8 k0 k1 k2 k3, or s16 k0 k2 k1 k3 for weights of 8 bits where bytes are widened.
constexpr int StepBytes(int max_bits) { return kWidensBytes && max_bits == 8 ? 8 : 4; }

// Steps whose products fit 16 bits together: each adds at most 2 * (2^bits - 1) * 127.
constexpr int StepsIn16(int max_bits) { return max_bits <= 4 ? 8 : max_bits == 5 ? 4 : 2; }

INTAGLIO_INLINE int32_t LoadStep(const std::byte* x) {
  int32_t bits;
  std::memcpy(&bits, x, sizeof bits);
  return bits;
}

#if INTAGLIO_ISA_avx512 && INTAGLIO_VNNI

template <int kMaxBits> struct IntSum {
  struct Line {
    __m512i v;
  };
  static INTAGLIO_INLINE Line Split(U32 line) { return {line.v}; }
  INTAGLIO_INLINE void Start(int32_t offset) { v = _mm512_set1_epi32(offset); }
  INTAGLIO_INLINE void Add(const Line& w, const std::byte* x) { v = _mm512_dpbusd_epi32(v, w.v, _mm512_set1_epi32(LoadStep(x))); }
  INTAGLIO_INLINE void Widen() {}
  INTAGLIO_INLINE F32 Total() const { return {_mm512_cvtepi32_ps(v)}; }
  __m512i v;
};

#elif INTAGLIO_ISA_avx2 && INTAGLIO_VNNI

template <int kMaxBits> struct IntSum {
  struct Line {
    __m256i a, b;
  };
  static INTAGLIO_INLINE Line Split(U32 line) { return {line.a, line.b}; }
  INTAGLIO_INLINE void Start(int32_t offset) { a = b = _mm256_set1_epi32(offset); }
  INTAGLIO_INLINE void Add(const Line& w, const std::byte* x) {
    const __m256i row = _mm256_set1_epi32(LoadStep(x));
    a = _mm256_dpbusd_avx_epi32(a, w.a, row);
    b = _mm256_dpbusd_avx_epi32(b, w.b, row);
  }
  INTAGLIO_INLINE void Widen() {}
  INTAGLIO_INLINE F32 Total() const { return {_mm256_cvtepi32_ps(a), _mm256_cvtepi32_ps(b)}; }
  __m256i a, b;
};

#elif INTAGLIO_ISA_avx512

template <int kMaxBits> struct IntSum {
  struct Line {
    __m512i v;
  };
  static INTAGLIO_INLINE Line Split(U32 line) { return {line.v}; }
  INTAGLIO_INLINE void Start(int32_t offset) {
    total = _mm512_set1_epi32(offset);
    part = _mm512_setzero_si512();
  }
  INTAGLIO_INLINE void Add(const Line& w, const std::byte* x) {
    part = _mm512_add_epi16(part, _mm512_maddubs_epi16(w.v, _mm512_set1_epi32(LoadStep(x))));
  }
  INTAGLIO_INLINE void Widen() {
    total = _mm512_add_epi32(total, _mm512_madd_epi16(part, _mm512_set1_epi16(1)));
    part = _mm512_setzero_si512();
  }
  INTAGLIO_INLINE F32 Total() const { return {_mm512_cvtepi32_ps(total)}; }
  __m512i total, part;
};
template <> struct IntSum<8> {
  struct Line {
    __m512i even, odd;
  };
  static INTAGLIO_INLINE Line Split(U32 line) { return {_mm512_and_si512(line.v, _mm512_set1_epi16(0x00ff)), _mm512_srli_epi16(line.v, 8)}; }
  INTAGLIO_INLINE void Start(int32_t offset) { total = _mm512_set1_epi32(offset); }
  INTAGLIO_INLINE void Add(const Line& w, const std::byte* x) {
    total = _mm512_add_epi32(total, _mm512_madd_epi16(w.even, _mm512_set1_epi32(LoadStep(x))));
    total = _mm512_add_epi32(total, _mm512_madd_epi16(w.odd, _mm512_set1_epi32(LoadStep(x + 4))));
  }
  INTAGLIO_INLINE void Widen() {}
  INTAGLIO_INLINE F32 Total() const { return {_mm512_cvtepi32_ps(total)}; }
  __m512i total;
};

#elif INTAGLIO_ISA_avx2

template <int kMaxBits> struct IntSum {
  struct Line {
    __m256i a, b;
  };
  static INTAGLIO_INLINE Line Split(U32 line) { return {line.a, line.b}; }
  INTAGLIO_INLINE void Start(int32_t offset) {
    start = offset;
    is_first = true;
    a = b = _mm256_setzero_si256();
  }
  INTAGLIO_INLINE void Add(const Line& w, const std::byte* x) {
    const __m256i row = _mm256_set1_epi32(LoadStep(x));
    a = _mm256_add_epi16(a, _mm256_maddubs_epi16(w.a, row));
    Keep(a);
    b = _mm256_add_epi16(b, _mm256_maddubs_epi16(w.b, row));
    Keep(b);
  }
  // is_first and start are known while compiling, once the loops around are unrolled.
  INTAGLIO_INLINE void Widen() {
    const __m256i ones = _mm256_set1_epi16(1), wide_a = _mm256_madd_epi16(a, ones), wide_b = _mm256_madd_epi16(b, ones);
    total_a = is_first ? _mm256_add_epi32(wide_a, _mm256_set1_epi32(start)) : _mm256_add_epi32(total_a, wide_a);
    total_b = is_first ? _mm256_add_epi32(wide_b, _mm256_set1_epi32(start)) : _mm256_add_epi32(total_b, wide_b);
    is_first = false;
    a = b = _mm256_setzero_si256();
  }
  INTAGLIO_INLINE F32 Total() const { return {_mm256_cvtepi32_ps(total_a), _mm256_cvtepi32_ps(total_b)}; }
  __m256i a, b, total_a, total_b;
  int32_t start;
  bool is_first;
};
template <> struct IntSum<8> {
  struct Line {
    __m256i even_a, odd_a, even_b, odd_b;
  };
  static INTAGLIO_INLINE Line Split(U32 line) {
    const __m256i low = _mm256_set1_epi16(0x00ff);
    return {_mm256_and_si256(line.a, low), _mm256_srli_epi16(line.a, 8), _mm256_and_si256(line.b, low), _mm256_srli_epi16(line.b, 8)};
  }
  INTAGLIO_INLINE void Start(int32_t offset) { a = b = _mm256_set1_epi32(offset); }
  INTAGLIO_INLINE void Add(const Line& w, const std::byte* x) {
    const __m256i even = _mm256_set1_epi32(LoadStep(x)), odd = _mm256_set1_epi32(LoadStep(x + 4));
    a = _mm256_add_epi32(a, _mm256_madd_epi16(w.even_a, even));
    Keep(a);
    b = _mm256_add_epi32(b, _mm256_madd_epi16(w.even_b, even));
    Keep(b);
    a = _mm256_add_epi32(a, _mm256_madd_epi16(w.odd_a, odd));
    Keep(a);
    b = _mm256_add_epi32(b, _mm256_madd_epi16(w.odd_b, odd));
    Keep(b);
  }
  INTAGLIO_INLINE void Widen() {}
  INTAGLIO_INLINE F32 Total() const { return {_mm256_cvtepi32_ps(a), _mm256_cvtepi32_ps(b)}; }
  __m256i a, b;
};

#else  // scalar

template <int kMaxBits> struct IntSum {
  using Line = U32;
  static INTAGLIO_INLINE Line Split(const U32& line) { return line; }
  INTAGLIO_INLINE void Start(int32_t offset) {
    for (int32_t& lane : v) lane = offset;
  }
  INTAGLIO_INLINE void Add(const Line& w, const std::byte* x) {
    for (int i = 0; i < kLanes; ++i) {
      for (int j = 0; j < 4; ++j) v[i] += static_cast<int32_t>((w.v[i] >> (8 * j)) & 0xffu) * static_cast<int8_t>(x[j]);
    }
  }
  INTAGLIO_INLINE void Widen() {}
  INTAGLIO_INLINE F32 Total() const {
    F32 total;
    for (int i = 0; i < kLanes; ++i) total.v[i] = static_cast<float>(v[i]);
    return total;
  }
  int32_t v[kLanes];
};

#endif

}  // namespace intaglio::kernels::INTAGLIO_ISA
