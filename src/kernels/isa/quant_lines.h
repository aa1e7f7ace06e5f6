// Reads quantised weights as quant_format.h packs them: the q of a step as bytes, the scales and minima of a group as floats.
#pragma once
#include "kernels/isa/simd.h"
#include "kernels/quant_format.h"

namespace intaglio::kernels::INTAGLIO_ISA {

#if INTAGLIO_ISA_avx512
INTAGLIO_INLINE F32 LoadF16(const std::byte* p) { return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))}; }
INTAGLIO_INLINE U32 LoadBytes(const std::byte* p) { return {_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))}; }
INTAGLIO_INLINE U32 LoadSignedBytes(const std::byte* p) { return {_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))}; }
// Byte by byte table[x], x < 16.
INTAGLIO_INLINE U32 LookUp(const uint8_t (&table)[16], U32 x) {
  return {_mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table))), x.v)};
}
#elif INTAGLIO_ISA_avx2
INTAGLIO_INLINE F32 LoadF16(const std::byte* p) {
  const auto* halves = reinterpret_cast<const __m128i*>(p);
  return {_mm256_cvtph_ps(_mm_loadu_si128(halves)), _mm256_cvtph_ps(_mm_loadu_si128(halves + 1))};
}
INTAGLIO_INLINE U32 LoadBytes(const std::byte* p) {
  return {_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))),
          _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p + 8)))};
}
INTAGLIO_INLINE U32 LoadSignedBytes(const std::byte* p) {
  return {_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))),
          _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p + 8)))};
}
INTAGLIO_INLINE U32 LookUp(const uint8_t (&table)[16], U32 x) {
  const __m256i both = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
  return {_mm256_shuffle_epi8(both, x.a), _mm256_shuffle_epi8(both, x.b)};
}
#else
INTAGLIO_INLINE F32 LoadF16(const std::byte* p) {
  F32 r;
  for (int i = 0; i < kLanes; ++i) {
    uint16_t bits;
    std::memcpy(&bits, p + 2 * i, sizeof bits);
    r.v[i] = F16ToF32(bits);
  }
  return r;
}
INTAGLIO_INLINE U32 LoadBytes(const std::byte* p) {
  U32 r;
  for (int i = 0; i < kLanes; ++i) r.v[i] = static_cast<uint8_t>(p[i]);
  return r;
}
INTAGLIO_INLINE U32 LoadSignedBytes(const std::byte* p) {
  U32 r;
  for (int i = 0; i < kLanes; ++i) r.v[i] = static_cast<uint32_t>(static_cast<int32_t>(static_cast<int8_t>(p[i])));
  return r;
}
INTAGLIO_INLINE U32 LookUp(const uint8_t (&table)[16], const U32& x) {
  U32 r{};
  for (int i = 0; i < kLanes; ++i) {
    for (int shift = 0; shift < 32; shift += 8) r.v[i] |= static_cast<uint32_t>(table[(x.v[i] >> shift) & 15u]) << shift;
  }
  return r;
}
#endif

INTAGLIO_INLINE U32 LoadLine(const std::byte* p) { return LoadU32(reinterpret_cast<const uint32_t*>(p)); }

// kField bits of every byte, from bit kFrom on, at bit kTo.
template <int kFrom, int kTo, int kField> INTAGLIO_INLINE U32 Extract(U32 x) {
  const U32 mask = SetU32(((1u << kField) - 1u) * 0x01010101u << kTo);
  if constexpr (kFrom > kTo) return And(ShiftRight<kFrom - kTo>(x), mask);
  if constexpr (kFrom < kTo) return And(ShiftLeft<kTo - kFrom>(x), mask);
  return And(x, mask);
}

// Twice the values of MXFP4's 4-bit floats, plus kMxfp4Zero.
inline constexpr int kMxfp4Zero = 12;
inline constexpr uint8_t kMxfp4Doubled[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};

template <DType kType> struct QuantLines {
  static constexpr QuantFormat kFormat = FormatOf(kType);
  static constexpr int kZero = kType == DType::kMxfp4 ? kMxfp4Zero : kFormat.zero;
  static constexpr int kMaxBits = kType == DType::kMxfp4 ? 5 : kFormat.bits;   // of what Step returns
  static constexpr int64_t kLineBytes = 64;
  static constexpr int64_t kRunBytes = kFormat.bits * kLineBytes;              // of 32 k

  // q of the kStep-th four k of a run of 32 k whose lines begin at `run`.
  template <int kStep> static INTAGLIO_INLINE U32 Step(const std::byte* run) {
    if constexpr (kFormat.bits == 8) {
      return LoadLine(run + kStep * kLineBytes);
    } else if constexpr (kType == DType::kMxfp4) {
      return LookUp(kMxfp4Doubled, Base<kStep, 4>(run));
    } else if constexpr (kFormat.bits >= 4) {
      return WithHigher<kStep, 4>(run);
    } else {
      return WithHigher<kStep, 2>(run);
    }
  }

  // d and, where the format has one, -m or +m as it is added, of group `group` of the unit.
  struct Scales {
    F32 scale, minimum;
  };
  // What a unit's groups share.
  struct Header {
    F32 scale, minimum;
  };
  static INTAGLIO_INLINE Header ReadHeader(const std::byte* unit) {
    if constexpr (kFormat.header == QuantHeader::kSubMin8 || kFormat.header == QuantHeader::kSubMin16) {
      return {LoadF16(unit), Sub(Set(-0.0f), LoadF16(unit + kLineBytes / 2))};
    } else if constexpr (kFormat.header == QuantHeader::kSub16) {
      return {Load(reinterpret_cast<const float*>(unit)), Zero()};
    } else {
      return {Zero(), Zero()};
    }
  }
  static INTAGLIO_INLINE Scales ReadScales(const std::byte* unit, const Header& header, int64_t group) {
    const std::byte* subs = unit + kLineBytes;
    if constexpr (kFormat.header == QuantHeader::kPairF16) {
      return {LoadF16(unit + group * kLineBytes / 2), Zero()};
    } else if constexpr (kFormat.header == QuantHeader::kF32) {
      return {Load(reinterpret_cast<const float*>(unit)), Zero()};
    } else if constexpr (kFormat.header == QuantHeader::kF16Min) {
      return {LoadF16(unit), LoadF16(unit + kLineBytes / 2)};
    } else if constexpr (kFormat.header == QuantHeader::kSubMin8) {
      const std::byte* sub = subs + group * 2 * kLanes;
      return {Mul(header.scale, ToF32(LoadBytes(sub))), Mul(header.minimum, ToF32(LoadBytes(sub + kLanes)))};
    } else if constexpr (kFormat.header == QuantHeader::kSubMin16) {
      const U32 sub = LoadBytes(subs + group * kLanes);
      return {Mul(header.scale, ToF32(And(sub, SetU32(15)))), Mul(header.minimum, ToF32(ShiftRight<4>(sub)))};
    } else if constexpr (kFormat.header == QuantHeader::kSub16) {
      return {Mul(header.scale, ToF32(LoadSignedBytes(subs + group * kLanes))), Zero()};
    } else {
      // 2^(e - 128): its exponent field is e - 1; below that it is subnormal.
      const U32 e = LoadBytes(unit + group * kLanes);
      const F32 normal = FromBits(ShiftLeft<23>(Add(e, SetU32(~0u)))), is_one = Set(1.0f), exponent = ToF32(e);
      const F32 subnormal = SelectLess(exponent, is_one, FromBits(SetU32(0x00200000u)), FromBits(SetU32(0x00400000u)));
      return {SelectLess(exponent, Set(2.0f), subnormal, normal), Zero()};
    }
  }

 private:
  template <int kStep, int kBits> static INTAGLIO_INLINE U32 Base(const std::byte* run) {
    constexpr int kPerLine = 8 / kBits;
    return Extract<kStep % kPerLine * kBits, 0, kBits>(LoadLine(run + kStep / kPerLine * kLineBytes));
  }
  template <int kStep, int kBase> static INTAGLIO_INLINE U32 WithHigher(const std::byte* run) {
    constexpr int kHigher = kFormat.bits - kBase;
    const U32 base = Base<kStep, kBase>(run + kHigher * kLineBytes);
    if constexpr (kHigher == 0) {
      return base;
    } else {
      constexpr int kPerLine = 8 / kHigher;
      const std::byte* line = run + kStep / kPerLine * kLineBytes;
      return Or(base, Extract<kStep % kPerLine * kHigher, kBase, kHigher>(LoadLine(line)));
    }
  }
};

}  // namespace intaglio::kernels::INTAGLIO_ISA
