// Activations for quantised weights: each row in groups of QuantFormat::activation_k, q = round(x / scale) in s8 with scale = amax / 127, looking
// at nothing but the group. Packed tile by tile into the workspace, MatMulRowBytes(k, kType) for each row of the tile: steps of four k
// [step][rows], then scales f32 [activation group][rows], then per weight group [rows] what the sum of its activations adds: as
// i32 -zero * sum where the format has a zero point, as f32 scale * sum where it has a minimum.
#pragma once
#include <cstring>
#include <limits>

#include "kernels/isa/dot.h"
#include "kernels/isa/matmul_tile.h"
#include "kernels/isa/quant_lines.h"
#include "kernels/workspace.h"

namespace intaglio::kernels::INTAGLIO_ISA {

// Where the parts of a tile of quantised activations are.
template <DType kType> struct QuantTile {
  static constexpr QuantFormat kFormat = FormatOf(kType);
  static constexpr int64_t kStepK = 4, kStepBytes = StepBytes(QuantLines<kType>::kMaxBits);

  QuantTile(std::byte* base, int64_t num_rows, int64_t k) : rows(num_rows), steps(base) {
    const int64_t padded_k = kFormat.num_units(k) * kFormat.unit_k;
    scales = reinterpret_cast<float*>(base + padded_k / kStepK * kStepBytes * rows);
    sums = reinterpret_cast<std::byte*>(scales + padded_k / kFormat.activation_k * rows);
  }
  [[nodiscard]] std::byte* step(int64_t k) const { return steps + k / kStepK * kStepBytes * rows; }
  [[nodiscard]] float* scale(int64_t k) const { return scales + k / kFormat.activation_k * rows; }
  [[nodiscard]] std::byte* sum(int64_t k) const { return sums + k / kFormat.group_k * kSumBytes * rows; }

  static constexpr int64_t kSumBytes = 4;
  int64_t rows;
  std::byte* steps;
  float* scales;
  std::byte* sums;
};

#if INTAGLIO_ISA_avx512
// The low byte of every lane.
INTAGLIO_INLINE void StoreLowBytes(int8_t (&to)[kLanes], U32 x) { _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(x.v)); }
#else
INTAGLIO_INLINE void StoreLowBytes(int8_t (&to)[kLanes], const U32& x) {
  uint32_t lanes[kLanes];
  Store(lanes, x);
  for (int i = 0; i < kLanes; ++i) to[i] = static_cast<int8_t>(lanes[i] & 0xffu);
}
#endif

// What the values of a group are divided by, and its reciprocal as they are multiplied by it. Groups of nothing but (nearly) zero are zero; of a
// group with an infinity or a NaN all results are NaN.
struct GroupScale {
  float scale, inverse;
};
INTAGLIO_INLINE GroupScale ScaleOf(const float* x, int64_t count) {
  constexpr float kLeast = 0x1p-100f;   // below, the reciprocal would leave the range
  F32 largest = Zero(), probe = Zero();
  for (int64_t i = 0; i < count; i += kLanes) {
    const F32 v = LoadFirst(x + i, LanesLeft(i, count));
    largest = Max(Max(v, Sub(Zero(), v)), largest);
    probe = Add(probe, Mul(v, Zero()));
  }
  const float amax = MaxLanes(largest);
  if (SumLanes(probe) != 0.0f) return {std::numeric_limits<float>::quiet_NaN(), 0.0f};
  return amax < kLeast ? GroupScale{0.0f, 0.0f} : GroupScale{amax / 127.0f, 127.0f / amax};
}

// One row's activations of one step: a row of the tile is `stride` bytes of a step from the next.
template <int64_t kStepBytes> INTAGLIO_INLINE void StoreStep(const int8_t* q, std::byte* to) {
  if constexpr (kStepBytes == 4) {
    std::memcpy(to, q, 4);
  } else {
    const int16_t wide[4] = {q[0], q[2], q[1], q[3]};
    std::memcpy(to, wide, sizeof wide);
  }
}

// Quantises k in [begin, begin + activation_k) of row `r` of the tile; those from `end` on are zero.
template <DType kType> void QuantizeGroup(const float* x, int64_t begin, int64_t end, const QuantTile<kType>& tile, int64_t r) {
  using Tile = QuantTile<kType>;
  constexpr QuantFormat kFormat = Tile::kFormat;
  constexpr float kMagic = 12582912.0f;   // 1.5 * 2^23: adding it rounds to an integer, ties to even, in the low bits
  const int64_t live = end - begin < 0 ? 0 : end - begin < kFormat.activation_k ? end - begin : kFormat.activation_k;
  const GroupScale group = ScaleOf(x + begin, live);
  tile.scale(begin)[r] = group.scale;
  int32_t sum = 0;
  for (int64_t i = 0; i < kFormat.activation_k; i += kLanes) {
    int8_t q[kLanes] = {};
    if (i < live && group.inverse != 0.0f) {
      const F32 v = LoadFirst(x + begin + i, LanesLeft(i, live));
      StoreLowBytes(q, Bits(Add(Mul(v, Set(group.inverse)), Set(kMagic))));
    }
    for (int64_t j = 0; j < kLanes; j += Tile::kStepK) StoreStep<Tile::kStepBytes>(q + j, tile.step(begin + i + j) + r * Tile::kStepBytes);
    for (const int8_t value : q) sum += value;
    if ((i + kLanes) % kFormat.group_k != 0) continue;
    std::byte* to = tile.sum(begin + i) + r * Tile::kSumBytes;
    if constexpr (kFormat.has_min()) {
      const float scaled = group.scale * static_cast<float>(sum);
      std::memcpy(to, &scaled, sizeof scaled);
    } else {
      const int32_t offset = -QuantLines<kType>::kZero * sum;
      std::memcpy(to, &offset, sizeof offset);
    }
    sum = 0;
  }
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
