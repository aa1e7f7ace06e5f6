// The inner loops of attention over an int8 cache. Both products are sums of integers, so twice as many fit an instruction as of f32, and
// nothing is widened to f32 but sums: q·k of queries rounded to 15 bits, and p·V of weights rounded to 16 bits of the largest of their tile.
// What that adds to the error is a hundredth of what 8 bits of keys and values cost.
#pragma once
#include "kernels/isa/attention_tile.h"
#include "kernels/isa/int_pairs.h"

namespace intaglio::kernels::INTAGLIO_ISA {

// Sums of kMaxHeadDim products with 127 and of kKvTile products with 127 fit 32 bits.
inline constexpr float kQueryLimit = 16383.0f, kWeightLimit = 32767.0f;

struct Int8Line {
  static constexpr int kPerLane = 2;
  static constexpr int64_t kBytes = 2 * kLanes;
};

// As ScoreBlocks: q is [padded head_dim / 2][kQueries][2], its scales include that of scores.
template <int kQueries, int kVectors>
INTAGLIO_INLINE void ScoreBlocksInt8(const int16_t* q, const float* q_scales, const Tile& tile, int block, float* scores) {
  const int64_t block_bytes = tile.key_lines * Int8Line::kBytes;
  const std::byte* line = tile.keys + block * block_bytes;
  I32 sum[kQueries][kVectors];
  INTAGLIO_UNROLL for (int r = 0; r < kQueries; ++r) { INTAGLIO_UNROLL for (int b = 0; b < kVectors; ++b) sum[r][b] = ZeroI32(); }
  for (int64_t i = 0; i < tile.key_lines; ++i, line += Int8Line::kBytes, q += 2 * kQueries) {
    Pairs key[kVectors];
    INTAGLIO_UNROLL for (int b = 0; b < kVectors; ++b) {
      FetchNext(line + b * block_bytes, tile);
      key[b] = LoadBytePairs(line + b * block_bytes);
      Pin(key[b]);
    }
    INTAGLIO_UNROLL for (int r = 0; r < kQueries; ++r) {
      const Pairs query = SetPair(q + 2 * r);
      INTAGLIO_UNROLL for (int b = 0; b < kVectors; ++b) {
        sum[r][b] = AddProducts(sum[r][b], key[b], query);
        Pin(sum[r][b]);   // or GCC reassociates the sums and spills
      }
    }
  }
  INTAGLIO_UNROLL for (int b = 0; b < kVectors; ++b) {
    const F32 scale = Load(tile.scales + (block + b) * kLanes);
    INTAGLIO_UNROLL for (int r = 0; r < kQueries; ++r) {
      Store(scores + r * kKvTile + (block + b) * kLanes, Mul(Mul(ToF32(sum[r][b]), Set(q_scales[r])), scale));
    }
  }
}

template <int kQueries>
void ScoreTileInt8(const int16_t* q, const float* q_scales, const Tile& tile, TileRange range, float* scores) {
  ForBlocks<Vectors(kQueries)>(range, [&]<int kVectors>(int block) { ScoreBlocksInt8<kQueries, kVectors>(q, q_scales, tile, block, scores); });
}

// Rounds what a query gives a tile's bytes, p[64] times the scales of the values, and returns the scale of the integers. Outside `range`
// they are zero, whatever the scales are there.
inline float QuantiseWeights(float* p, const float* v_scales, TileRange range, int16_t* weights) {
  INTAGLIO_UNROLL for (int i = 0; i < kKvTile; i += kLanes) {
    F32 scale = Load(v_scales + i);
    scale = SelectLess(LaneIndex(), Set(static_cast<float>(range.end - i)), scale, Zero());
    scale = SelectLess(LaneIndex(), Set(static_cast<float>(range.begin - i)), Zero(), scale);
    Store(p + i, Mul(Load(p + i), scale));
  }
  return QuantiseRow(p, kKvTile, kWeightLimit, weights);
}

// What a register tile's queries give a tile: [kQueries][64] integers and their scales; and which of the queries see any of it.
struct Weights {
  const int16_t* integers;
  const float* scales;
  const TileRange* ranges;
};

// out[r] += scale[r] * sum of integers[r][position] * v[position] over the lanes of `any`, for kVectors vectors of 16 columns.
template <int kQueries, int kVectors>
INTAGLIO_INLINE void AddValueBlocksInt8(const Weights& weights, const Tile& tile, TileRange any, const Columns& columns) {
  constexpr int64_t kBlockBytes = kKvTile / 2 * Int8Line::kBytes;
  I32 sum[kQueries][kVectors];
  INTAGLIO_UNROLL for (int r = 0; r < kQueries; ++r) { INTAGLIO_UNROLL for (int b = 0; b < kVectors; ++b) sum[r][b] = ZeroI32(); }
  for (int lane = any.begin / 2; 2 * lane < any.end; ++lane) {
    Pairs value[kVectors];
    INTAGLIO_UNROLL for (int b = 0; b < kVectors; ++b) {
      const std::byte* line = columns.values + lane * Int8Line::kBytes + b * kBlockBytes;
      FetchNext(line, tile);
      value[b] = LoadBytePairs(line);
      Pin(value[b]);
    }
    INTAGLIO_UNROLL for (int r = 0; r < kQueries; ++r) {
      const Pairs weight = SetPair(weights.integers + r * kKvTile + 2 * lane);
      INTAGLIO_UNROLL for (int b = 0; b < kVectors; ++b) {
        sum[r][b] = AddProducts(sum[r][b], value[b], weight);
        Pin(sum[r][b]);
      }
    }
  }
  INTAGLIO_UNROLL for (int r = 0; r < kQueries; ++r) {
    if (weights.ranges[r].is_empty()) continue;   // a sum of zero may change the sign of one
    INTAGLIO_UNROLL for (int b = 0; b < kVectors; ++b) {
      float* to = columns.out + r * columns.stride + b * kLanes;
      Store(to, Fma(ToF32(sum[r][b]), Set(weights.scales[r]), Load(to)));
    }
  }
}

template <int kQueries>
void AddValuesInt8(const Weights& weights, const Tile& tile, int64_t padded_dim, float* out) {
  const TileRange any = Hull(weights.ranges, kQueries);
  ForBlocks<Vectors(kQueries)>({0, static_cast<int>(padded_dim)}, [&]<int kVectors>(int block) {
    AddValueBlocksInt8<kQueries, kVectors>(weights, tile, any, {tile.values + block * kKvTile * kLanes, out + block * kLanes, padded_dim});
  });
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
