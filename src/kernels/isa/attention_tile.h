// The inner loops of attention: up to kMaxQueries queries against one KV tile of 64 positions. Each query's arithmetic is fixed (scores
// by FMA over head_dim ascending, p·V by FMA over positions ascending); how many queries and lanes are in registers at once is not.
#pragma once
#include "kernels/isa/math.h"
#include "kernels/kv_layout.h"

namespace intaglio::kernels::INTAGLIO_ISA {

// Most queries in registers, and vectors of 16 lanes in registers for a number of queries: as many accumulators as fit beside one
// broadcast and the loaded vectors (32 registers of 16 lanes at AVX-512, 16 of 8 at AVX2).
#if INTAGLIO_ISA_avx512
inline constexpr int kMaxQueries = 12;
constexpr int Vectors(int queries) { return queries <= 6 ? 4 : 2; }
#elif INTAGLIO_ISA_avx2
inline constexpr int kMaxQueries = 6;
constexpr int Vectors(int queries) { return queries == 1 ? 4 : queries <= 3 ? 2 : 1; }
#else
inline constexpr int kMaxQueries = 4;
constexpr int Vectors(int) { return 1; }
#endif

// Positions [begin, end) of a tile.
struct TileRange {
  int begin = 0, end = 0;
  [[nodiscard]] bool is_empty() const { return begin >= end; }
};

// The hull of `count` ranges; empty ones do not widen it.
inline TileRange Hull(const TileRange* ranges, int count) {
  TileRange hull{kKvTile, 0};
  for (int i = 0; i < count; ++i) {
    if (ranges[i].is_empty()) continue;
    hull.begin = ranges[i].begin < hull.begin ? ranges[i].begin : hull.begin;
    hull.end = ranges[i].end > hull.end ? ranges[i].end : hull.end;
  }
  return hull;
}

// What the positions of a tile are scored with.
struct Keys {
  const float* tile;   // [4][head_dim][16]
  int64_t head_dim;
  float scale;
};

// The running maximum of a query's scores, and the sum of e^(score - maximum).
struct Softmax {
  float maximum = -__builtin_inff(), sum = 0.0f;
};

// scores[r][p] = (q[r] · k[p]) * scale for kVectors blocks of 16 positions, the first being `block`. q is [head_dim][kQueries].
template <int kQueries, int kVectors>
INTAGLIO_INLINE void ScoreBlocks(const float* q, const Keys& keys, int block, float* scores) {
  const int64_t head_dim = keys.head_dim;
  const float* k = keys.tile + block * head_dim * kLanes;
  F32 sum[kQueries][kVectors];
  INTAGLIO_UNROLL for (int r = 0; r < kQueries; ++r) { INTAGLIO_UNROLL for (int b = 0; b < kVectors; ++b) sum[r][b] = Zero(); }
  for (int64_t d = 0; d < head_dim; ++d) {
    F32 key[kVectors];
    INTAGLIO_UNROLL for (int b = 0; b < kVectors; ++b) {
      key[b] = Load(k + (b * head_dim + d) * kLanes);
      if (kQueries > 1) Pin(key[b]);
    }
    INTAGLIO_UNROLL for (int r = 0; r < kQueries; ++r) {
      const F32 query = Set(q[d * kQueries + r]);
      INTAGLIO_UNROLL for (int b = 0; b < kVectors; ++b) sum[r][b] = Fma(query, key[b], sum[r][b]);
    }
  }
  INTAGLIO_UNROLL for (int r = 0; r < kQueries; ++r) {
    INTAGLIO_UNROLL for (int b = 0; b < kVectors; ++b) Store(scores + r * kKvTile + (block + b) * kLanes, Mul(sum[r][b], Set(keys.scale)));
  }
}

// Scores of the blocks of 16 positions that `range` touches; the others are left alone.
template <int kQueries>
void Scores(const float* q, const Keys& keys, TileRange range, float* scores) {
  constexpr int kVectors = Vectors(kQueries);
  int block = range.begin / kLanes;
  const int end = (range.end + kLanes - 1) / kLanes;
  for (; block + kVectors <= end; block += kVectors) ScoreBlocks<kQueries, kVectors>(q, keys, block, scores);
  for (; block < end; ++block) ScoreBlocks<kQueries, 1>(q, keys, block, scores);
}

// scores = cap * tanh(scores / cap) of the blocks of 16 positions that `range` touches; the others are left alone.
inline void CapScores(float cap, TileRange range, float* scores) {
  for (int i = range.begin / kLanes * kLanes; i < range.end; i += kLanes) { Store(scores + i, Mul(Tanh(Div(Load(scores + i), Set(cap))), Set(cap))); }
}

// The positions that the queries of a register tile see: each its own, any of them, and all of them.
struct Visible {
  const TileRange* ranges;
  TileRange any, all;
};

// out[r] += sum over the positions of ranges[r], ascending, of p[r][position] * v[position], for kVectors vectors of 16 columns; out is
// [kQueries][stride]. Positions that only some queries see are added for those alone: a masked position adds nothing, not even a
// signed zero or a NaN.
template <int kQueries, int kVectors>
INTAGLIO_INLINE void AddValueBlocks(const float* p, const float* v, const Visible& visible, int64_t stride, float* out) {
  F32 sum[kQueries][kVectors];
  INTAGLIO_UNROLL for (int r = 0; r < kQueries; ++r) {
    INTAGLIO_UNROLL for (int b = 0; b < kVectors; ++b) sum[r][b] = Load(out + r * stride + b * kLanes);
  }
  const auto add_position = [&](int position, auto sees) __attribute__((always_inline)) {
    F32 value[kVectors];
    INTAGLIO_UNROLL for (int b = 0; b < kVectors; ++b) {
      value[b] = Load(v + (b * kKvTile + position) * kLanes);
      if (kQueries > 1) Pin(value[b]);
    }
    INTAGLIO_UNROLL for (int r = 0; r < kQueries; ++r) {
      if (!sees(r, position)) continue;
      const F32 weight = Set(p[r * kKvTile + position]);
      INTAGLIO_UNROLL for (int b = 0; b < kVectors; ++b) sum[r][b] = Fma(weight, value[b], sum[r][b]);
    }
  };
  const auto some = [ranges = visible.ranges](int r, int position) { return position >= ranges[r].begin && position < ranges[r].end; };
  for (int position = visible.any.begin; position < visible.all.begin; ++position) add_position(position, some);
  for (int position = visible.all.begin; position < visible.all.end; ++position) add_position(position, [](int, int) { return true; });
  for (int position = visible.all.end; position < visible.any.end; ++position) add_position(position, some);
  INTAGLIO_UNROLL for (int r = 0; r < kQueries; ++r) {
    INTAGLIO_UNROLL for (int b = 0; b < kVectors; ++b) Store(out + r * stride + b * kLanes, sum[r][b]);
  }
}

// AddValueBlocks over all columns of a V tile; `ranges` has kQueries.
template <int kQueries>
void AddValues(const float* p, const float* v_tile, const TileRange* ranges, int64_t padded_dim, float* out) {
  constexpr int kVectors = Vectors(kQueries);
  Visible visible{ranges, Hull(ranges, kQueries), {0, kKvTile}};
  for (int r = 0; r < kQueries; ++r) {
    visible.all.begin = ranges[r].begin > visible.all.begin ? ranges[r].begin : visible.all.begin;
    visible.all.end = ranges[r].end < visible.all.end ? ranges[r].end : visible.all.end;
  }
  if (visible.all.is_empty()) visible.all = {visible.any.end, visible.any.end};
  int64_t d = 0;
  for (; d + kVectors * kLanes <= padded_dim; d += kVectors * kLanes) {
    AddValueBlocks<kQueries, kVectors>(p, v_tile + d * kKvTile, visible, padded_dim, out + d);
  }
  for (; d < padded_dim; d += kLanes) AddValueBlocks<kQueries, 1>(p, v_tile + d * kKvTile, visible, padded_dim, out + d);
}

// Online softmax of one query over one tile: turns its scores into weights p = e^(score - maximum), exactly zero outside `range` and
// where that is below e^-87, and rescales what was summed before. `out` has padded_dim columns.
inline void SoftmaxTile(float* scores, TileRange range, int64_t padded_dim, Softmax* softmax, float* out) {
  constexpr int kBlocks = kKvTile / kLanes;
  const F32 minus_infinity = Set(-__builtin_inff());
  F32 s[kBlocks];
  INTAGLIO_UNROLL for (int b = 0; b < kBlocks; ++b) s[b] = Load(scores + b * kLanes);
  if (range.begin > 0 || range.end < kKvTile) {
    INTAGLIO_UNROLL for (int b = 0; b < kBlocks; ++b) {
      s[b] = SelectLess(LaneIndex(), Set(static_cast<float>(range.end - b * kLanes)), s[b], minus_infinity);
      s[b] = SelectLess(LaneIndex(), Set(static_cast<float>(range.begin - b * kLanes)), minus_infinity, s[b]);
    }
  }
  const float tile_maximum = MaxLanes(Max(Max(s[0], s[1]), Max(s[2], s[3])));
  const float new_maximum = softmax->maximum > tile_maximum ? softmax->maximum : tile_maximum;
  if (new_maximum == -__builtin_inff()) {   // every score overflowed to minus infinity
    INTAGLIO_UNROLL for (int b = 0; b < kBlocks; ++b) Store(scores + b * kLanes, Zero());
    return;
  }
  F32 weights = Zero();
  INTAGLIO_UNROLL for (int b = 0; b < kBlocks; ++b) {
    const F32 x = Sub(s[b], Set(new_maximum));
    const F32 p = SelectLess(x, Set(-87.0f), Zero(), Exp(x));
    weights = Add(weights, p);
    Store(scores + b * kLanes, p);
  }
  if (softmax->maximum != new_maximum) {   // else the factor is exactly 1
    const F32 factor = Exp(Set(softmax->maximum - new_maximum));
    for (int64_t d = 0; d < padded_dim; d += kLanes) Store(out + d, Mul(Load(out + d), factor));
    softmax->sum *= First(factor);
    softmax->maximum = new_maximum;
  }
  softmax->sum += SumLanes(weights);
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
