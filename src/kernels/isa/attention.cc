// Flash attention over KV tiles at absolute positions. A span (4 tiles) is summed on its own by online softmax, tiles ascending; the
// spans of a query are merged ascending. Both orders are part of the numerics: a query's bits do not depend on the task that holds it.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/attention_tasks.h"
#include "kernels/isa/attention_tile.h"
#include "kernels/kv_runs.h"
#include "kernels/params.h"

namespace intaglio::kernels::INTAGLIO_ISA {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// A task's queries, row by row, the heads of a row together; and what its sums need.
struct Queries {
  float packed[kMaxTaskQueries * kMaxHeadDim];    // register tile by register tile, [head_dim][queries of the tile]
  float scores[kMaxTaskQueries * kKvTile];
  float span_out[kMaxTaskQueries * kMaxValueDim]; // [query][padded_dim], of the current span
  float out[kMaxTaskQueries * kMaxValueDim];      // merged
  Softmax span_softmax[kMaxTaskQueries], softmax[kMaxTaskQueries];
  int64_t first_visible[kMaxTaskQueries], last_visible[kMaxTaskQueries];
  TileRange range[kMaxTaskQueries];               // what each query sees of the current tile
};
static_assert(sizeof(Queries) <= kScratchBytes);

struct Context {
  const KernelCall& call;
  const StepView& step;
  AttentionTask task;
  int64_t head_dim, v_dim, padded_dim;   // of queries and keys; of values; of values, in whole lanes
  int num_queries;
};

// Calls body.operator()<count>(first) for register tiles that cover all queries, the largest first.
template <int kCount = kMaxQueries, typename Body>
INTAGLIO_INLINE void ForRegisterTiles(int first, int num_queries, Body body) {
  for (; num_queries - first >= kCount; first += kCount) body.template operator()<kCount>(first);
  constexpr int kNext = kCount > 8 ? 8 : kCount > 6 ? 6 : kCount > 4 ? 4 : kCount - 1;
  if constexpr (kNext > 0) ForRegisterTiles<kNext>(first, num_queries, body);
}

void LoadQueries(const Context& c, Queries* queries) {
  const Tensor& q = c.call[1];
  const auto row_of = [&](int i) { return c.task.first_row + i / c.task.num_heads; };
  for (int i = 0; i < c.num_queries; ++i) {
    queries->first_visible[i] = FirstVisible(c.call, c.step.positions[row_of(i)]);
    queries->last_visible[i] = LastVisible(c.call, c.step, row_of(i));
  }
  ForRegisterTiles(0, c.num_queries, [&]<int kCount>(int first) {
    float* packed = queries->packed + first * c.head_dim;
    for (int r = 0; r < kCount; ++r) {
      const float* x = q.f32(row_of(first + r)) + (c.task.first_head + (first + r) % c.task.num_heads) * c.head_dim;
      for (int64_t d = 0; d < c.head_dim; ++d) packed[d * kCount + r] = x[d];
    }
  });
}

void AttendTile(const Context& c, const float* k_tile, Queries* queries) {
  const float* v_tile = k_tile + KTileFloats(c.head_dim);
  const Keys keys{k_tile, c.head_dim, c.call.params.floats[attention_params::kScale]};
  ForRegisterTiles(0, c.num_queries, [&]<int kCount>(int first) {
    Scores<kCount>(queries->packed + first * c.head_dim, keys, Hull(queries->range + first, kCount), queries->scores + first * kKvTile);
  });
  const float softcap = c.call.params.floats[attention_params::kSoftcap];
  for (int i = 0; i < c.num_queries; ++i) {
    if (queries->range[i].is_empty()) continue;
    if (softcap != 0) CapScores(softcap, queries->range[i], queries->scores + i * kKvTile);
    SoftmaxTile(queries->scores + i * kKvTile, queries->range[i], c.padded_dim, queries->span_softmax + i, queries->span_out + i * c.padded_dim);
  }
  ForRegisterTiles(0, c.num_queries, [&]<int kCount>(int first) {
    AddValues<kCount>(queries->scores + first * kKvTile, v_tile, queries->range + first, c.padded_dim, queries->span_out + first * c.padded_dim);
  });
}

void AttendSpan(const Context& c, int64_t span, Queries* queries) {
  std::fill_n(queries->span_softmax, c.num_queries, Softmax{});
  std::fill_n(queries->span_out, c.num_queries * c.padded_dim, 0.0f);
  const int64_t first_visible = queries->first_visible[0], last = queries->last_visible[c.num_queries - 1];   // rows ascend
  const int64_t first_tile = std::max(span * kKvSpanTiles, first_visible / kKvTile);
  const int64_t last_tile = std::min(span * kKvSpanTiles + kKvSpanTiles - 1, last / kKvTile);
  for (int64_t tile = first_tile; tile <= last_tile; ++tile) {
    const int64_t block = PhysicalBlock(c.call, c.step, c.step.slots[c.task.first_row], tile);
    if (block < 0) continue;
    const int64_t tile_begin = tile * kKvTile;
    for (int i = 0; i < c.num_queries; ++i) {
      queries->range[i] = {static_cast<int>(std::clamp<int64_t>(queries->first_visible[i] - tile_begin, 0, kKvTile)),
                           static_cast<int>(std::clamp<int64_t>(queries->last_visible[i] + 1 - tile_begin, 0, kKvTile))};
    }
    AttendTile(c, c.call[2].f32(block) + c.task.kv_head * KvHeadFloats(c.head_dim, c.v_dim), queries);
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

void StorePartials(const Context& c, const Queries& queries, int64_t max_spans) {
  for (int i = 0; i < c.num_queries; ++i) {
    const int64_t span = c.task.first_span - queries.first_visible[i] / kSpanPositions;
    if (span < 0 || c.task.first_span > queries.last_visible[i] / kSpanPositions) continue;
    float* partial = Partials(c.call, c.task.first_row + i / c.task.num_heads, c.task.first_head + i % c.task.num_heads, max_spans) +
                     span * PartialFloats(c.v_dim);
    partial[0] = queries.span_softmax[i].maximum;
    partial[1] = queries.span_softmax[i].sum;
    std::copy_n(queries.span_out + i * c.padded_dim, c.padded_dim, partial + kPartialHeader);
  }
}

void StoreOutputs(const Context& c, const Queries& queries) {
  for (int i = 0; i < c.num_queries; ++i) {
    const int64_t head = c.task.first_head + i % c.task.num_heads;
    float* out = c.call[0].f32(c.task.first_row + i / c.task.num_heads) + head * c.v_dim;
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

}  // namespace

void Attention(const KernelCall& call, const StepView& step, int stage, int64_t task, std::byte* scratch) noexcept {
  const AttentionSplit split = SplitOfStep(call, step);
  if (stage == 1) return MergePartials(call, step, split.max_spans, task, reinterpret_cast<float*>(scratch));

  auto* queries = reinterpret_cast<Queries*>(scratch);
  const int64_t head_dim = call.params.ints[attention_params::kHeadDim], v_dim = ValueDim(call);
  Context c{call, step, FindAttentionTask(call, step, task), head_dim, v_dim, PaddedDim(v_dim), 0};
  c.num_queries = static_cast<int>(c.task.num_rows * c.task.num_heads);
  LoadQueries(c, queries);
  if (split.is_split) {
    AttendSpan(c, c.task.first_span, queries);
    return StorePartials(c, *queries, split.max_spans);
  }
  std::fill_n(queries->out, c.num_queries * c.padded_dim, 0.0f);
  std::fill_n(queries->softmax, c.num_queries, Softmax{});
  for (int64_t span = c.task.first_span; span <= c.task.last_span; ++span) {
    AttendSpan(c, span, queries);
    for (int i = 0; i < c.num_queries; ++i) {
      Merge(queries->span_out + i * c.padded_dim, queries->span_softmax[i], c.padded_dim, queries->out + i * c.padded_dim, queries->softmax + i);
    }
  }
  StoreOutputs(c, *queries);
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
