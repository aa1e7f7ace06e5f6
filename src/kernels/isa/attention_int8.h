// The inner loops of attention over an int8 cache. Both products are sums of integers, so twice as many fit an instruction as of f32, and
// nothing is widened to f32 but sums: q·k of queries rounded to 15 bits, and p·V of weights rounded to 16 bits of the largest of their tile.
// What that adds to the error is a hundredth of what 8 bits of keys and values cost.
#pragma once
#include "kernels/isa/attention_softmax.h"
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
      INTAGLIO_UNROLL for (int b = 0; b < kVectors; ++b) sum[r][b] = AddProducts(sum[r][b], key[b], query);
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

// The scales of a tile's values in steps of which the largest is kWeightLimit, and what one is worth. Outside `range` there are none, whatever
// the scales are there.
struct ValueSteps {
  TileRange range;
  float steps[kKvTile], worth;
};
inline ValueSteps MakeValueSteps(const float* v_scales, TileRange range) {
  ValueSteps values{.range = range, .steps = {}, .worth = 0.0f};
  const IntScale scale = ScaleOf(LargestMagnitude(v_scales + range.begin, range.end - range.begin), kWeightLimit);
  values.worth = scale.scale;
  if (scale.inverse == 0) return values;
  for (int i = range.begin; i < range.end; ++i) values.steps[i] = v_scales[i] * scale.inverse;
  return values;
}

// As Weigh, but p is relative to the tile's own maximum and becomes integers, as many steps as it gives the values. Returns what a step is
// worth. What is masked or far below adds e^-87 to a sum of 1 and more, which is nothing.
INTAGLIO_INLINE float WeighInt8(float tile_maximum, const ValueSteps& values, const Sums& sums, const float* scores, int16_t* weights) {
  constexpr int kBlocks = kKvTile / kLanes;
  if (tile_maximum == -__builtin_inff()) {
    INTAGLIO_UNROLL for (int b = 0; b < kBlocks; ++b) StoreLowerHalves(weights + b * kLanes, SetU32(0));
    return 0.0f;
  }
  F32 sum = Zero();
  INTAGLIO_UNROLL for (int b = 0; b < kBlocks; ++b) {
    const F32 p = ExpWithin(Max(Sub(Load(scores + b * kLanes), Set(tile_maximum)), Set(-87.0f)));
    sum = Add(sum, p);
    StoreRounded(weights + b * kLanes, p, Load(values.steps + b * kLanes));
  }
  const float maximum = sums.softmax->maximum, new_maximum = maximum > tile_maximum ? maximum : tile_maximum;
  if (maximum != new_maximum) {
    Rescale(maximum - new_maximum, sums);
    sums.softmax->maximum = new_maximum;
  }
  const F32 factor = Exp(Set(tile_maximum - new_maximum));
  sums.softmax->sum = First(Fma(Set(SumLanes(sum)), factor, Set(sums.softmax->sum)));
  return values.worth * First(factor);
}

// The worth of weights of a query that sees nothing of a tile: its sums are not touched, since zero would change the sign of one.
inline constexpr float kSeesNothing = -1.0f;

// What a register tile's queries give a tile: [kQueries][64] integers, and what one is worth.
struct Weights {
  const int16_t* integers;
  const float* worths;
};

// out[r] += worths[r] * sum of integers[r][position] * v[position] over the lanes of `any`, for kVectors vectors of 16 columns.
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
      INTAGLIO_UNROLL for (int b = 0; b < kVectors; ++b) sum[r][b] = AddProducts(sum[r][b], value[b], weight);
    }
  }
  INTAGLIO_UNROLL for (int r = 0; r < kQueries; ++r) {
    const F32 worth = Set(weights.worths[r]);
    INTAGLIO_UNROLL for (int b = 0; b < kVectors; ++b) {
      float* to = columns.out + r * columns.stride + b * kLanes;
      const F32 earlier = Load(to);
      Store(to, SelectLess(worth, Zero(), earlier, Fma(ToF32(sum[r][b]), worth, earlier)));
    }
  }
}

template <int kQueries>
void AddValuesInt8(const Weights& weights, const Tile& tile, TileRange any, int64_t padded_dim, float* out) {
  ForBlocks<Vectors(kQueries)>({0, static_cast<int>(padded_dim)}, [&]<int kVectors>(int block) {
    AddValueBlocksInt8<kQueries, kVectors>(weights, tile, any, {tile.values + block * kKvTile * kLanes, out + block * kLanes, padded_dim});
  });
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
