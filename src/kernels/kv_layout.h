// Bytes of a layer's KV cache: [block][kv_head][K tile | V tile], f32. A block holds kKvTile = 64 positions. Values may be narrower than
// keys (latent attention).
//   K tile: [64 / 16][head_dim][16]   positions in lanes, so that q·k is summed over head_dim ascending in every lane
//   V tile: [padded v_dim / 16][64][16] v_dim in lanes, padded with zeros to a multiple of 16
// Position p of a slot lives in block table[p / 64], at tile position p % 64. Writing tile position 0 clears the whole tile first,
// so that a reused block holds nothing of its former owner.
#pragma once
#include <cstdint>

#include "kernels/kernel.h"

namespace intaglio::kernels {

[[nodiscard]] constexpr int64_t PaddedDim(int64_t dim) { return (dim + kLanes - 1) / kLanes * kLanes; }
[[nodiscard]] constexpr int64_t KTileFloats(int64_t head_dim) { return kKvTile * head_dim; }
[[nodiscard]] constexpr int64_t VTileFloats(int64_t v_dim) { return kKvTile * PaddedDim(v_dim); }
[[nodiscard]] constexpr int64_t KvHeadFloats(int64_t head_dim, int64_t v_dim) { return KTileFloats(head_dim) + VTileFloats(v_dim); }
// Bytes of one block of one layer.
[[nodiscard]] constexpr int64_t KvBlockBytes(int64_t kv_heads, int64_t head_dim, int64_t v_dim) {
  return kv_heads * KvHeadFloats(head_dim, v_dim) * static_cast<int64_t>(sizeof(float));
}

}  // namespace intaglio::kernels
