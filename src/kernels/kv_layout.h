// Bytes of a layer's KV cache: [block][kv_head][K tile | V tile | scales], in f32, bf16 or int8. A block holds kKvTile = 64 positions.
// Values may be narrower than keys (latent attention).
//
// Both tiles are made of lines of 16 lanes. A lane of f32 is one element; one of bf16 or int8 is a pair of neighbours, so that a line is
// widened without a shuffle across lanes and a pair is one operand of an integer dot product.
//   K tile: f32 [64 / 16][head_dim][16], else [64 / 16][head_dim / 2][16][2], head_dim rounded up to even
//           positions in lanes, so that q·k is summed over head_dim ascending in every lane
//   V tile: f32 [padded v_dim / 16][64][16], else [padded v_dim / 16][64 / 2][16][2]
//           v_dim in lanes, padded with zeros to a multiple of 16
//   scales: int8 alone, f32 [64] of keys, then [64] of values: position p of the head is its bytes times scale p
// Position p of a slot lives in block table[p / 64], at tile position p % 64. Writing tile position 0 clears the whole block first,
// so that a reused block holds nothing of its former owner.
#pragma once
#include <array>
#include <cstdint>
#include <string_view>

#include "kernels/kernel.h"

namespace intaglio::kernels {

// What a key/value head of a layer is stored as.
struct KvShape {
  int64_t head_dim = 0, v_dim = 0;
  DType dtype = DType::kF32;   // or kBF16, kI8
};

inline constexpr std::array kKvTypes{DType::kF32, DType::kBF16, DType::kI8};
[[nodiscard]] constexpr bool IsKvType(DType dtype) { return dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kI8; }
// As people write it: "f32", "bf16", "int8".
[[nodiscard]] constexpr std::string_view KvTypeName(DType dtype) { return dtype == DType::kF32 ? "f32" : dtype == DType::kBF16 ? "bf16" : "int8"; }
[[nodiscard]] constexpr int64_t KvElementBytes(DType dtype) { return dtype == DType::kF32 ? 4 : dtype == DType::kBF16 ? 2 : 1; }
// Neighbours that share a lane of a line.
[[nodiscard]] constexpr int64_t KvPerLane(DType dtype) { return dtype == DType::kF32 ? 1 : 2; }

[[nodiscard]] constexpr int64_t PaddedDim(int64_t dim) { return (dim + kLanes - 1) / kLanes * kLanes; }
// head_dim with what fills its last lane.
[[nodiscard]] constexpr int64_t PaddedKeyDim(const KvShape& shape) {
  const int64_t per_lane = KvPerLane(shape.dtype);
  return (shape.head_dim + per_lane - 1) / per_lane * per_lane;
}
[[nodiscard]] constexpr int64_t KTileBytes(const KvShape& shape) { return kKvTile * PaddedKeyDim(shape) * KvElementBytes(shape.dtype); }
[[nodiscard]] constexpr int64_t VTileBytes(const KvShape& shape) { return kKvTile * PaddedDim(shape.v_dim) * KvElementBytes(shape.dtype); }
[[nodiscard]] constexpr int64_t KvScaleBytes(DType dtype) { return dtype == DType::kI8 ? 2 * kKvTile * int64_t{sizeof(float)} : 0; }
[[nodiscard]] constexpr int64_t KvHeadBytes(const KvShape& shape) { return KTileBytes(shape) + VTileBytes(shape) + KvScaleBytes(shape.dtype); }
// Bytes of one block of one layer.
[[nodiscard]] constexpr int64_t KvBlockBytes(int64_t kv_heads, const KvShape& shape) { return kv_heads * KvHeadBytes(shape); }

}  // namespace intaglio::kernels
