// Flash attention over KV tiles at absolute positions. A span (4 tiles) is summed on its own by online softmax, tiles ascending; the
// spans of a query are merged ascending. Both orders are part of the numerics: a query's bits do not depend on the task that holds it.
#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "kernels/attention_tasks.h"
#include "kernels/isa/attention_int8.h"
#include "kernels/isa/attention_softmax.h"
#include "kernels/kv_runs.h"
#include "kernels/params.h"

namespace intaglio::kernels::INTAGLIO_ISA {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// A task's queries, row by row, the heads of a row together; and what its sums need. Memory that a type does not use is not touched.
struct Queries {
  float packed[kMaxTaskQueries * kMaxHeadDim];       // register tile by register tile, [padded head_dim][queries of the tile]
  int16_t integers[kMaxTaskQueries * kMaxHeadDim];   // or [padded head_dim / 2][queries of the tile][2]
  float scales[kMaxTaskQueries];                     // of integers, times that of scores
  float scores[kMaxTaskQueries * kKvTile];
  int16_t weights[kMaxTaskQueries * kKvTile];        // of an int8 cache, in place of scores
  float worths[kMaxTaskQueries];                     // of weights
  float span_out[kMaxTaskQueries * kMaxValueDim];    // [query][padded_dim], of the current span
  float out[kMaxTaskQueries * kMaxValueDim];         // merged
  float tile_maximum[kMaxTaskQueries];
  Softmax span_softmax[kMaxTaskQueries], softmax[kMaxTaskQueries];
  int64_t first_visible[kMaxTaskQueries], last_visible[kMaxTaskQueries];
  TileRange range[kMaxTaskQueries];                  // what each query sees of the current tile
};
static_assert(sizeof(Queries) <= kScratchBytes);

struct Context {
  const KernelCall& call;
  const StepView& step;
  AttentionTask task;
  KvShape shape;
  int64_t key_dim, padded_dim;   // of keys, in whole lanes of a line; of values, in whole lanes
  int num_queries;
};

// Calls body.operator()<count>(first) for register tiles that cover all queries, the largest first.
template <int kCount = kMaxQueries, typename Body>
INTAGLIO_INLINE void ForRegisterTiles(int first, int num_queries, Body body) {
  for (; num_queries - first >= kCount; first += kCount) body.template operator()<kCount>(first);
  constexpr int kNext = kCount > 8 ? 8 : kCount > 6 ? 6 : kCount > 4 ? 4 : kCount - 1;
  if constexpr (kNext > 0) ForRegisterTiles<kNext>(first, num_queries, body);
}

// Packs a query as column r of a register tile of kCount, the first of which is `first`.
template <typename Line, int kCount>
void PackQuery(const Context& c, const float* x, int first, int r, Queries* queries) {
  if constexpr (std::is_same_v<Line, Int8Line>) {
    int16_t integers[kMaxHeadDim];
    const float scale = RoundRow(x, c.shape.head_dim, kQueryLimit, integers);
    queries->scales[first + r] = scale * c.call.params.floats[attention_params::kScale];
    int16_t* packed = queries->integers + first * c.key_dim + 2 * r;
    for (int64_t d = 0; d < c.key_dim; d += 2, packed += 2 * kCount) std::copy_n(integers + d, 2, packed);
  } else {
    float* packed = queries->packed + first * c.key_dim + r;
    for (int64_t d = 0; d < c.shape.head_dim; ++d) packed[d * kCount] = x[d];
    for (int64_t d = c.shape.head_dim; d < c.key_dim; ++d) packed[d * kCount] = 0.0f;
  }
}

template <typename Line>
void LoadQueries(const Context& c, Queries* queries) {
  const auto row_of = [&](int i) { return c.task.first_row + i / c.task.num_heads; };
  for (int i = 0; i < c.num_queries; ++i) {
    queries->first_visible[i] = FirstVisible(c.call, c.step.positions[row_of(i)]);
    queries->last_visible[i] = LastVisible(c.call, c.step, row_of(i));
  }
  ForRegisterTiles(0, c.num_queries, [&]<int kCount>(int first) {
    for (int i = first; i < first + kCount; ++i) {
      const float* x = c.call[1].f32(row_of(i)) + (c.task.first_head + i % c.task.num_heads) * c.shape.head_dim;
      PackQuery<Line, kCount>(c, x, first, i - first, queries);
    }
  });
}

// The scores of all queries against a tile.
template <typename Line>
void Score(const Context& c, const Tile& tile, Queries* queries) {
  ForRegisterTiles(0, c.num_queries, [&]<int kCount>(int first) {
    const TileRange range = Hull(queries->range + first, kCount);
    float* scores = queries->scores + first * kKvTile;
    if constexpr (std::is_same_v<Line, Int8Line>) {
      ScoreTileInt8<kCount>(queries->integers + first * c.key_dim, queries->scales + first, tile, range, scores);
    } else {
      ScoreTile<Line, kCount>(queries->packed + first * c.key_dim, tile, range, scores);
    }
  });
}

// Turns scores into weights.
template <typename Line>
void WeighScores(const Context& c, const Tile& tile, Queries* queries) {
  const float softcap = c.call.params.floats[attention_params::kSoftcap];
  for (int i = 0; i < c.num_queries; ++i) {
    float* scores = queries->scores + i * kKvTile;
    if (queries->range[i].is_empty()) continue;
    if (softcap != 0) CapScores(softcap, queries->range[i], scores);
    queries->tile_maximum[i] = MaskAndFindMaximum(queries->range[i], scores);
  }
  ValueSteps values{};
  for (int i = 0; i < c.num_queries; ++i) {
    const TileRange range = queries->range[i];
    const Sums sums{queries->span_softmax + i, queries->span_out + i * c.padded_dim, c.padded_dim};
    float* scores = queries->scores + i * kKvTile;
    if constexpr (std::is_same_v<Line, Int8Line>) {
      int16_t* weights = queries->weights + i * kKvTile;
      queries->worths[i] = kSeesNothing;
      if (range.is_empty()) continue;
      if (range.begin != values.range.begin || range.end != values.range.end) values = MakeValueSteps(tile.scales + kKvTile, range);
      queries->worths[i] = WeighInt8(queries->tile_maximum[i], values, sums, scores, weights);
    } else if (!range.is_empty()) {
      Weigh(queries->tile_maximum[i], sums, scores);
    }
  }
}

// Adds what the tile's values give all queries.
template <typename Line>
void AddWeighted(const Context& c, const Tile& tile, Queries* queries) {
  ForRegisterTiles(0, c.num_queries, [&]<int kCount>(int first) {
    float* out = queries->span_out + first * c.padded_dim;
    if constexpr (std::is_same_v<Line, Int8Line>) {
      const Weights weights{queries->weights + first * kKvTile, queries->worths + first};
      AddValuesInt8<kCount>(weights, tile, Hull(queries->range + first, kCount), c.padded_dim, out);
    } else {
      AddValues<Line, kCount>(queries->scores + first * kKvTile, tile, queries->range + first, c.padded_dim, out);
    }
  });
}

// Where the tile of a task lies; null if the block table names no block for it.
const std::byte* FindTile(const Context& c, int64_t tile) {
  const int64_t block = PhysicalBlock(c.call, c.step, c.step.slots[c.task.first_row], tile);
  if (block < 0) return nullptr;
  return c.call[2].data + block * KvBlockBytes(c.call.params.ints[attention_params::kKvHeads], c.shape) + c.task.kv_head * KvHeadBytes(c.shape);
}

template <typename Line>
Tile MakeTile(const Context& c, const std::byte* keys, const std::byte* next) {
  const std::byte* values = keys + KTileBytes(c.shape);
  return {.keys = keys,
          .values = values,
          .scales = reinterpret_cast<const float*>(values + VTileBytes(c.shape)),
          .key_lines = c.key_dim / Line::kPerLane,
          .scale = c.call.params.floats[attention_params::kScale],
          .to_next = next == nullptr ? 0 : next - keys};
}

// Tiles that a task walks.
struct Walk {
  int64_t first, last;
};

Walk WalkOf(const Context& c, const Queries& queries) {
  const int64_t first = queries.first_visible[0] / kKvTile, last = queries.last_visible[c.num_queries - 1] / kKvTile;   // rows ascend
  return {std::max(c.task.first_span * kKvSpanTiles, first), std::min(c.task.last_span * kKvSpanTiles + kKvSpanTiles - 1, last)};
}

template <typename Line>
void AttendSpan(const Context& c, int64_t span, const Walk& walk, Queries* queries) {
  std::fill_n(queries->span_softmax, c.num_queries, Softmax{});
  std::fill_n(queries->span_out, c.num_queries * c.padded_dim, 0.0f);
  const int64_t first_tile = std::max(span * kKvSpanTiles, walk.first), last_tile = std::min(span * kKvSpanTiles + kKvSpanTiles - 1, walk.last);
  for (int64_t i = first_tile; i <= last_tile; ++i) {
    const std::byte* keys = FindTile(c, i);
    if (keys == nullptr) continue;
    const int64_t tile_begin = i * kKvTile;
    for (int q = 0; q < c.num_queries; ++q) {
      queries->range[q] = {static_cast<int>(std::clamp<int64_t>(queries->first_visible[q] - tile_begin, 0, kKvTile)),
                           static_cast<int>(std::clamp<int64_t>(queries->last_visible[q] + 1 - tile_begin, 0, kKvTile))};
    }
    const Tile tile = MakeTile<Line>(c, keys, i < walk.last ? FindTile(c, i + 1) : nullptr);
    Score<Line>(c, tile, queries);
    WeighScores<Line>(c, tile, queries);
    AddWeighted<Line>(c, tile, queries);
  }
}

// Adds the result of a later span to that of the earlier ones. The first visible span is taken as it is.
void Merge(const float* span_out, const Softmax& span, int64_t padded_dim, float* out, Softmax* softmax) {
  if (span.maximum == kMinusInfinity) return;
  if (softmax->maximum == kMinusInfinity) {
    std::copy_n(span_out, padded_dim, out);
    *softmax = span;
    return;
  }
  const float maximum = softmax->maximum > span.maximum ? softmax->maximum : span.maximum;
  const F32 earlier = Exp(Set(softmax->maximum - maximum)), later = Exp(Set(span.maximum - maximum));
  for (int64_t d = 0; d < padded_dim; d += kLanes) Store(out + d, Fma(Load(span_out + d), later, Mul(Load(out + d), earlier)));
  *softmax = {maximum, First(Fma(Set(span.sum), later, Mul(Set(softmax->sum), earlier)))};
}

// The sums of a head, divided by its softmax's. A sink's logit joins that last: all is rescaled to the larger maximum.
void Finish(const KernelCall& call, int64_t head, const float* sums, const Softmax& softmax, float* out) {
  const Tensor& sinks = call[4];
  F32 inverse = Set(1.0f / softmax.sum);
  if (sinks.is_present()) {
    const float sink = sinks.f32()[head], maximum = softmax.maximum > sink ? softmax.maximum : sink;
    const F32 x = Set(sink - maximum), factor = Exp(Set(softmax.maximum - maximum));
    const F32 weight = SelectLess(x, Set(-87.0f), Zero(), Exp(x));   // exactly zero below, as any other weight
    inverse = Div(factor, Fma(Set(softmax.sum), factor, weight));
  }
  const int64_t v_dim = ValueDim(call);
  for (int64_t d = 0; d < v_dim; d += kLanes) StoreFirst(out + d, Mul(Load(sums + d), inverse), LanesLeft(d, v_dim));
}

// Where W keeps the partial results of a (row, head): [span, from the row's first][kPartialHeader + padded_dim], maximum and sum first.
float* Partials(const KernelCall& call, int64_t row, int64_t head, int64_t max_spans) {
  const int64_t heads = call.params.ints[attention_params::kHeads];
  return call[3].f32() + (row * heads + head) * max_spans * PartialFloats(ValueDim(call));
}

void StorePartials(const Context& c, const Queries& queries, int64_t task_span, int64_t max_spans) {
  for (int i = 0; i < c.num_queries; ++i) {
    const int64_t span = task_span - queries.first_visible[i] / kSpanPositions;
    if (span < 0 || task_span > queries.last_visible[i] / kSpanPositions) continue;
    float* partial = Partials(c.call, c.task.first_row + i / c.task.num_heads, c.task.first_head + i % c.task.num_heads, max_spans) +
                     span * PartialFloats(c.shape.v_dim);
    partial[0] = queries.span_softmax[i].maximum;
    partial[1] = queries.span_softmax[i].sum;
    std::copy_n(queries.span_out + i * c.padded_dim, c.padded_dim, partial + kPartialHeader);
  }
}

void StoreOutputs(const Context& c, const Queries& queries) {
  for (int i = 0; i < c.num_queries; ++i) {
    const int64_t head = c.task.first_head + i % c.task.num_heads;
    float* out = c.call[0].f32(c.task.first_row + i / c.task.num_heads) + head * c.shape.v_dim;
    Finish(c.call, head, queries.out + i * c.padded_dim, queries.softmax[i], out);
  }
}

void MergePartials(const KernelCall& call, const StepView& step, int64_t max_spans, int64_t task, float* merged) {
  const int64_t heads = call.params.ints[attention_params::kHeads], kv_heads = call.params.ints[attention_params::kKvHeads];
  const int64_t v_dim = ValueDim(call), group = heads / kv_heads;
  const int64_t row = task / kv_heads;
  const int64_t num_spans = LastVisible(call, step, row) / kSpanPositions - FirstVisible(call, step.positions[row]) / kSpanPositions + 1;
  for (int64_t head = task % kv_heads * group; head < (task % kv_heads + 1) * group; ++head) {
    const float* partial = Partials(call, row, head, max_spans);
    Softmax softmax;
    std::fill_n(merged, PaddedDim(v_dim), 0.0f);
    for (int64_t span = 0; span < num_spans; ++span, partial += PartialFloats(v_dim)) {
      Merge(partial + kPartialHeader, {partial[0], partial[1]}, PaddedDim(v_dim), merged, &softmax);
    }
    Finish(call, head, merged, softmax, call[0].f32(row) + head * v_dim);
  }
}

template <typename Line>
void Attend(const Context& c, const AttentionSplit& split, Queries* queries) {
  LoadQueries<Line>(c, queries);
  const Walk walk = WalkOf(c, *queries);
  std::fill_n(queries->out, c.num_queries * c.padded_dim, 0.0f);
  std::fill_n(queries->softmax, c.num_queries, Softmax{});
  for (int64_t span = c.task.first_span; span <= c.task.last_span; ++span) {
    AttendSpan<Line>(c, span, walk, queries);
    if (split.is_split) {
      StorePartials(c, *queries, span, split.max_spans);
      continue;
    }
    for (int i = 0; i < c.num_queries; ++i) {
      Merge(queries->span_out + i * c.padded_dim, queries->span_softmax[i], c.padded_dim, queries->out + i * c.padded_dim, queries->softmax + i);
    }
  }
  if (!split.is_split) StoreOutputs(c, *queries);
}

}  // namespace

void Attention(const KernelCall& call, const StepView& step, int stage, int64_t task, std::byte* scratch) noexcept {
  const AttentionSplit split = SplitOfStep(call, step);
  if (stage == 1) return MergePartials(call, step, split.max_spans, task, reinterpret_cast<float*>(scratch));

  auto* queries = reinterpret_cast<Queries*>(scratch);
  const KvShape shape = ShapeOfKv(call, call[2]);
  Context c{call, step, FindAttentionTask(call, step, task), shape, PaddedKeyDim(shape), PaddedDim(shape.v_dim), 0};
  c.num_queries = static_cast<int>(c.task.num_rows * c.task.num_heads);
  switch (shape.dtype) {
    case DType::kBF16:
      return Attend<Bf16Line>(c, split, queries);
    case DType::kI8:
      return Attend<Int8Line>(c, split, queries);
    default:
      return Attend<F32Line>(c, split, queries);
  }
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
