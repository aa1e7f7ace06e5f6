// Activations for quantised weights: each row in groups of QuantFormat::activation_k, q = round(x / scale) in s8 with scale = amax / 127, looking
// at nothing but the group. Packed tile by tile into the workspace, MatMulRowBytes(k, kType) for each row of the tile: steps of four k
// [step][rows], then scales f32 [activation group][rows], then per weight group [rows] what the sum of its activations adds: as
// i32 -zero * sum where the format has a zero point, as f32 scale * sum where it has a minimum.
#pragma once
#include <bit>
#include <cstring>
#include <limits>

#include "kernels/isa/bytes.h"
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

// What the values of a group are divided by, and what they are multiplied with instead. Groups of nothing but (nearly) zero are zero; of a
// group with an infinity or a NaN all results are NaN.
struct GroupScale {
  float scale, inverse;
};
INTAGLIO_INLINE GroupScale ScaleOf(const float* x, int64_t count) {
  constexpr float kLeast = 0x1p-100f;   // below, the reciprocal would leave the range
  constexpr uint32_t kMagnitude = 0x7fffffffu;
  U32 largest = SetU32(0);              // as bits, which are ordered as magnitudes are, and an infinity and NaNs above them
  if (count % kLanes == 0) {
    for (int64_t i = 0; i < count; i += kLanes) largest = Largest(largest, And(Bits(Load(x + i)), SetU32(kMagnitude)));
  } else {
    for (int64_t i = 0; i < count; i += kLanes) largest = Largest(largest, And(Bits(LoadFirst(x + i, LanesLeft(i, count))), SetU32(kMagnitude)));
  }
  const float amax = std::bit_cast<float>(LargestLane(largest));
  if (!(amax <= std::numeric_limits<float>::max())) return {std::numeric_limits<float>::quiet_NaN(), 0.0f};
  return amax < kLeast ? GroupScale{0.0f, 0.0f} : GroupScale{amax * (1.0f / 127.0f), 127.0f / amax};
}

// Quantises k in [begin, begin + activation_k) of row `r` of the tile; those from `end` on are zero.
template <DType kType> INTAGLIO_INLINE void QuantizeGroup(const float* x, int64_t begin, int64_t end, const QuantTile<kType>& tile, int64_t r) {
  using Tile = QuantTile<kType>;
  constexpr QuantFormat kFormat = Tile::kFormat;
  const int64_t live = end - begin < 0 ? 0 : end - begin < kFormat.activation_k ? end - begin : kFormat.activation_k;
  const GroupScale group = ScaleOf(x + begin, live);
  tile.scale(begin)[r] = group.scale;
  int32_t sum = 0;
  for (int64_t i = 0; i < kFormat.activation_k; i += kLanes) {
    Bytes16 q = NoBytes();
    if (i < live && group.inverse != 0.0f) q = RoundToBytes(Mul(LoadFirst(x + begin + i, LanesLeft(i, live)), Set(group.inverse)));
    StoreSteps<Tile::kStepBytes>(q, tile.step(begin + i) + r * Tile::kStepBytes, tile.rows * Tile::kStepBytes);
    sum += SumBytes(q);
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
