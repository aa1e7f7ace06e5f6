#include "layers/delta_net.h"

#include <numeric>
#include <utility>
#include <vector>

#include "base/strings.h"
#include "layers/causal_conv.h"

namespace intaglio::layers {

using graph::Builder;
using graph::ValueRef;

namespace {

// A projection "<scope>.<module>.weight" whose rows are stored key head by key head, each with a run of every part (of queries, keys, …):
// `runs` are their lengths. Declared part by part, each with the rows of all key heads.
ValueRef ProjectParts(const Builder& b, ValueRef x, int64_t key_heads, const std::vector<int64_t>& runs) {
  const int64_t hidden = x.shape()[1];
  const int64_t rows_of_head = std::accumulate(runs.begin(), runs.end(), int64_t{0}), all_rows = key_heads * rows_of_head;
  std::vector<graph::WeightSource> sources;
  int64_t first = 0;
  for (int64_t run : runs) {
    const std::vector<graph::WeightSource> part =
        RowsOf({.name = StrCat(b.scope(), ".weight"), .shape = {all_rows, hidden}, .shard = graph::Shard::kRows},
               {.first_row = first, .count = key_heads, .step = rows_of_head}, key_heads * run);
    sources.insert(sources.end(), part.begin(), part.end());
    first += run;
  }
  const ValueRef weight = b.Declare({.name = "weight", .shape = {all_rows, hidden}, .layout = graph::Layout::kMatmul, .sources = std::move(sources)});
  return MatMul(b, {.x = x, .weight = weight}, PlainSegments(hidden));
}

}  // namespace

ValueRef GatedDeltaNet(const Builder& b, ValueRef x, const DeltaNetConfig& c) {
  const graph::RecurrenceAttrs attrs{.key_heads = c.key_heads, .value_heads = c.value_heads, .key_dim = c.key_dim, .value_dim = c.value_dim};
  const int64_t group = c.value_heads / c.key_heads, values = attrs.value_cols(), qkv_cols = 2 * attrs.key_cols() + values;
  b.Probe("attn_in", x);
  const ValueRef qkvz = ProjectParts(b.In("in_proj_qkvz"), x, c.key_heads, {c.key_dim, c.key_dim, group * c.value_dim, group * c.value_dim});
  const ValueRef gates = ProjectParts(b.In("in_proj_ba"), x, c.key_heads, {group, group});
  const ValueRef qkv = CausalConv(b.In("conv1d"), Slice(b, qkvz, {.begin = 0, .size = qkv_cols}), c.taps, Bias::kNone);
  const ValueRef z = Slice(b, qkvz, {.begin = qkv_cols, .size = values});

  const ValueRef state = b.State({.name = "recurrent", .floats = attrs.state_floats()});
  const ValueRef a_log = b.Weight("A_log", {c.value_heads}, graph::Shard::kRows, graph::Layout::kVector);
  const ValueRef dt_bias = b.Weight("dt_bias", {c.value_heads}, graph::Shard::kRows, graph::Layout::kVector);
  const ValueRef y = b.Emit(graph::Op::kGatedDeltaRule, {state, qkv, gates, a_log, dt_bias, b.slots(), b.positions()}, attrs).front();

  const ValueRef normed = HeadRmsNorm(b.In("norm"), y, c.value_dim, c.norm), gate = Silu(b, z);
  const KSplit split{.shard = graph::Shard::kHeadColumns, .segments = HeadSegments(c.value_heads, c.key_heads, c.value_dim)};
  return b.Probe("attn_out", RowParallelLinear(b.In("out_proj"), Mul(b, gate, normed), x.shape()[1], Bias::kNone, split));
}

}  // namespace intaglio::layers
