// The inner loops of attention over an f32 or bf16 cache: up to kMaxQueries queries against one KV tile of 64 positions. Each query's
// arithmetic is fixed (scores by FMA over head_dim ascending, p·V by FMA over positions ascending); how many queries and lanes are in
// registers at once is not.
#pragma once
#include "kernels/isa/simd.h"
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

// A key/value head's part of a block.
struct Tile {
  const std::byte *keys, *values;
  const float* scales;   // int8 alone: of keys, then of values
  int64_t key_lines;     // of a block of 16 positions
  float scale;           // of scores
  int64_t to_next;       // bytes to the same place of the tile that is walked next, which is fetched meanwhile; 0: none
};

// What a line of the cache holds: kPerLane neighbours a lane.
struct F32Line {
  static constexpr int kPerLane = 1;
  static constexpr int64_t kBytes = kLanes * 4;
  template <int kIndex> static INTAGLIO_INLINE F32 Get(const std::byte* line) { return Load(reinterpret_cast<const float*>(line)); }
};
struct Bf16Line {
  static constexpr int kPerLane = 2;
  static constexpr int64_t kBytes = kLanes * 4;
  template <int kIndex> static INTAGLIO_INLINE F32 Get(const std::byte* line) { return kIndex == 0 ? LoadBf16Even(line) : LoadBf16Odd(line); }
};

// Into L2: two tiles are more than L1 holds.
INTAGLIO_INLINE void FetchNext(const std::byte* line, const Tile& tile) { __builtin_prefetch(line + tile.to_next, /*write=*/0, /*locality=*/2); }

// scores[r][p] = (q[r] · k[p]) * scale for kVectors blocks of 16 positions, the first being `block`. q is [padded head_dim][kQueries].
template <typename Line, int kQueries, int kVectors>
INTAGLIO_INLINE void ScoreBlocks(const float* q, const Tile& tile, int block, float* scores) {
  const int64_t block_bytes = tile.key_lines * Line::kBytes;
  const std::byte* line = tile.keys + block * block_bytes;
  F32 sum[kQueries][kVectors];
  INTAGLIO_UNROLL for (int r = 0; r < kQueries; ++r) { INTAGLIO_UNROLL for (int b = 0; b < kVectors; ++b) sum[r][b] = Zero(); }
  const auto add = [&]<int kIndex>(const float* query) __attribute__((always_inline)) {
    F32 key[kVectors];
    INTAGLIO_UNROLL for (int b = 0; b < kVectors; ++b) {
      key[b] = Line::template Get<kIndex>(line + b * block_bytes);
      if (kQueries > 1) Pin(key[b]);
    }
    INTAGLIO_UNROLL for (int r = 0; r < kQueries; ++r) {
      const F32 x = Set(query[r]);
      INTAGLIO_UNROLL for (int b = 0; b < kVectors; ++b) sum[r][b] = Fma(x, key[b], sum[r][b]);
    }
  };
  for (int64_t i = 0; i < tile.key_lines; ++i, line += Line::kBytes, q += kQueries * Line::kPerLane) {
    INTAGLIO_UNROLL for (int b = 0; b < kVectors; ++b) FetchNext(line + b * block_bytes, tile);
    add.template operator()<0>(q);
    if constexpr (Line::kPerLane == 2) add.template operator()<1>(q + kQueries);
  }
  INTAGLIO_UNROLL for (int r = 0; r < kQueries; ++r) {
    INTAGLIO_UNROLL for (int b = 0; b < kVectors; ++b) Store(scores + r * kKvTile + (block + b) * kLanes, Mul(sum[r][b], Set(tile.scale)));
  }
}

// Calls body.operator()<kVectors>(block) for the blocks of 16 positions that `range` touches.
template <int kVectors, typename Body>
INTAGLIO_INLINE void ForBlocks(TileRange range, Body body) {
  int block = range.begin / kLanes;
  const int end = (range.end + kLanes - 1) / kLanes;
  for (; block + kVectors <= end; block += kVectors) body.template operator()<kVectors>(block);
  if constexpr (kVectors > 1) {
    for (; block < end; ++block) body.template operator()<1>(block);
  }
}

// Scores of the blocks of 16 positions that `range` touches; the others are left alone.
template <typename Line, int kQueries>
void ScoreTile(const float* q, const Tile& tile, TileRange range, float* scores) {
  ForBlocks<Vectors(kQueries)>(range, [&]<int kVectors>(int block) { ScoreBlocks<Line, kQueries, kVectors>(q, tile, block, scores); });
}

// The positions that the queries of a register tile see: each its own, any of them, and all of them (begin and end are whole lanes).
struct Visible {
  const TileRange* ranges;
  TileRange any, all;
};

template <int kPerLane>
Visible MakeVisible(const TileRange* ranges, int count) {
  Visible visible{ranges, Hull(ranges, count), {0, kKvTile}};
  for (int r = 0; r < count; ++r) {
    visible.all.begin = ranges[r].begin > visible.all.begin ? ranges[r].begin : visible.all.begin;
    visible.all.end = ranges[r].end < visible.all.end ? ranges[r].end : visible.all.end;
  }
  visible.all = {(visible.all.begin + kPerLane - 1) / kPerLane * kPerLane, visible.all.end / kPerLane * kPerLane};
  if (visible.all.is_empty()) visible.all = {kKvTile, kKvTile};
  return visible;
}

// Vectors of 16 columns of the values, and where they are summed: [queries][stride].
struct Columns {
  const std::byte* values;
  float* out;
  int64_t stride;
};

// out[r] += sum over the positions of ranges[r], ascending, of p[r][position] * values[position], for kVectors vectors. Positions that only some queries see are added for those alone: a masked position adds nothing, not even a
// signed zero or a NaN.
template <typename Line, int kQueries, int kVectors>
INTAGLIO_INLINE void AddValueBlocks(const float* p, const Tile& tile, const Visible& visible, const Columns& columns) {
  constexpr int64_t kBlockBytes = kKvTile / Line::kPerLane * Line::kBytes;
  F32 sum[kQueries][kVectors];
  INTAGLIO_UNROLL for (int r = 0; r < kQueries; ++r) {
    INTAGLIO_UNROLL for (int b = 0; b < kVectors; ++b) sum[r][b] = Load(columns.out + r * columns.stride + b * kLanes);
  }
  const auto add = [&]<int kIndex>(int position, auto sees) __attribute__((always_inline)) {
    const std::byte* line = columns.values + position / Line::kPerLane * Line::kBytes;
    F32 value[kVectors];
    INTAGLIO_UNROLL for (int b = 0; b < kVectors; ++b) {
      value[b] = Line::template Get<kIndex>(line + b * kBlockBytes);
      if (kQueries > 1) Pin(value[b]);
    }
    INTAGLIO_UNROLL for (int r = 0; r < kQueries; ++r) {
      if (!sees(r)) continue;
      const F32 weight = Set(p[r * kKvTile + position]);
      INTAGLIO_UNROLL for (int b = 0; b < kVectors; ++b) sum[r][b] = Fma(weight, value[b], sum[r][b]);
    }
  };
  const auto all = [](int) { return true; };
  for (int position = visible.any.begin; position < visible.any.end;) {
    if (position == visible.all.begin) {
      for (; position < visible.all.end; position += Line::kPerLane) {
        INTAGLIO_UNROLL for (int b = 0; b < kVectors; ++b)
            FetchNext(columns.values + position / Line::kPerLane * Line::kBytes + b * kBlockBytes, tile);
        add.template operator()<0>(position, all);
        if constexpr (Line::kPerLane == 2) add.template operator()<1>(position + 1, all);
      }
      continue;
    }
    const auto some = [&](int r) { return position >= visible.ranges[r].begin && position < visible.ranges[r].end; };
    if (Line::kPerLane == 1 || position % 2 == 0) {
      add.template operator()<0>(position, some);
    } else {
      add.template operator()<1>(position, some);
    }
    ++position;
  }
  INTAGLIO_UNROLL for (int r = 0; r < kQueries; ++r) {
    INTAGLIO_UNROLL for (int b = 0; b < kVectors; ++b) Store(columns.out + r * columns.stride + b * kLanes, sum[r][b]);
  }
}

// AddValueBlocks over all columns of a V tile; `ranges` has kQueries.
template <typename Line, int kQueries>
void AddValues(const float* p, const Tile& tile, const TileRange* ranges, int64_t padded_dim, float* out) {
  const Visible visible = MakeVisible<Line::kPerLane>(ranges, kQueries);
  ForBlocks<Vectors(kQueries)>({0, static_cast<int>(padded_dim)}, [&]<int kVectors>(int block) {
    const std::byte* values = tile.values + block * (kKvTile / Line::kPerLane * Line::kBytes);
    AddValueBlocks<Line, kQueries, kVectors>(p, tile, visible, {values, out + block * kLanes, padded_dim});
  });
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
