#include "layers/delta_net.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/strings.h"
#include "layers/causal_conv.h"

namespace intaglio::layers {

using graph::Builder;
using graph::ValueRef;
using graph::WeightSource;

namespace {

// A part (queries, keys, …) of a projection whose rows are stored key head by key head, each with a run of every part.
struct Part {
  int64_t rows = 0;         // of one head
  bool is_values = false;   // there is one run a value head, all of a key head's side by side
};

// Rows of this rank's heads in every part, part by part. `heads_of_key`: value heads of a key head.
std::vector<RowRuns> RunsOf(const OwnHeads& own, int64_t heads_of_key, const std::vector<Part>& parts) {
  int64_t rows_of_key = 0;
  for (const Part& part : parts) rows_of_key += part.rows * (part.is_values ? heads_of_key : 1);
  std::vector<RowRuns> runs;
  int64_t first = 0;
  for (const Part& part : parts) {
    if (!part.is_values) {
      for (int64_t key : own.kv) runs.push_back({.first_row = key * rows_of_key + first, .rows = part.rows});
    } else {
      for (int64_t head = own.query.begin; head < own.query.end;) {   // those of one key head at a time
        const int64_t key = head / heads_of_key, end = std::min(own.query.end, (key + 1) * heads_of_key);
        runs.push_back({.first_row = key * rows_of_key + first + head % heads_of_key * part.rows, .rows = (end - head) * part.rows});
        head = end;
      }
    }
    first += part.rows * (part.is_values ? heads_of_key : 1);
  }
  return runs;
}

// The projection "<scope>.weight", declared part by part.
ValueRef ProjectParts(const Builder& b, ValueRef x, const DeltaNetConfig& c, const std::vector<Part>& parts) {
  const int64_t hidden = x.shape()[1], heads_of_key = c.value_heads / c.key_heads;
  int64_t all_rows = 0, own_rows = 0;
  for (const Part& part : parts) all_rows += part.rows * (part.is_values ? c.value_heads : c.key_heads);
  const WeightSource whole{.name = StrCat(b.scope(), ".weight"), .shape = {all_rows, hidden}, .shard = graph::Shard::kRows};
  std::vector<WeightSource> sources;
  for (const RowRuns& runs : RunsOf(HeadsOf(c.value_heads, c.key_heads, b.place()), heads_of_key, parts)) {
    for (WeightSource& source : RowsOf(whole, runs)) sources.push_back(std::move(source));
    own_rows += runs.rows;
  }
  const ValueRef weight = b.Declare({.name = "weight", .shape = {own_rows, hidden}, .layout = graph::Layout::kMatmul, .sources = std::move(sources)});
  return MatMul(b, {.x = x, .weight = weight}, PlainSegments(hidden));
}

// What goes into out_proj, for this rank's value heads.
ValueRef Recur(const Builder& b, ValueRef x, const DeltaNetConfig& c, const OwnHeads& own) {
  const graph::RecurrenceAttrs attrs{
      .key_heads = std::ssize(own.kv), .value_heads = own.query.size(), .key_dim = c.key_dim, .value_dim = c.value_dim};
  const int64_t keys = c.key_heads * c.key_dim, values = attrs.value_cols(), qkv_cols = 2 * attrs.key_cols() + values;
  const Part key_part{.rows = c.key_dim}, value_part{.rows = c.value_dim, .is_values = true}, gate_part{.rows = 1, .is_values = true};
  const ValueRef qkvz = ProjectParts(b.In("in_proj_qkvz"), x, c, {key_part, key_part, value_part, value_part});
  const ValueRef gates = ProjectParts(b.In("in_proj_ba"), x, c, {gate_part, gate_part});
  std::vector<Range> columns = own.KvRows(c.key_dim);
  for (const Range& range : own.KvRows(c.key_dim, keys)) columns.push_back(range);
  for (const Range& range : own.QueryRows(c.value_dim, 2 * keys)) columns.push_back(range);
  const OwnRows convolved{.all = 2 * keys + c.value_heads * c.value_dim, .ranges = Joined(columns)};
  const ValueRef qkv = CausalConv(b.In("conv1d"), Slice(b, qkvz, {.begin = 0, .size = qkv_cols}), convolved, c.taps, Bias::kNone);
  const ValueRef z = Slice(b, qkvz, {.begin = qkv_cols, .size = values});

  const ValueRef state = b.State({.name = "recurrent", .floats = attrs.state_floats()});
  const OwnRows heads{.all = c.value_heads, .ranges = own.QueryRows(1)};
  const ValueRef a_log = DeclareRows(b, heads, {.name = "A_log"}), dt_bias = DeclareRows(b, heads, {.name = "dt_bias"});
  const ValueRef y = b.Emit(graph::Op::kGatedDeltaRule, {state, qkv, gates, a_log, dt_bias, b.slots(), b.positions()}, attrs).front();

  const ValueRef normed = HeadRmsNorm(b.In("norm"), y, c.value_dim, c.norm), gate = Silu(b, z);
  return Mul(b, gate, normed);
}

}  // namespace

ValueRef GatedDeltaNet(const Builder& b, ValueRef x, const DeltaNetConfig& c) {
  b.Probe("attn_in", x);
  const OwnHeads own = HeadsOf(c.value_heads, c.key_heads, b.place());
  const ValueRef y = own.query.is_empty() ? ValueRef{} : Recur(b, x, c, own);
  const KSplit split{.shard = graph::Shard::kHeadColumns, .segments = HeadSegments(c.value_heads, c.key_heads, c.value_dim)};
  return b.Probe("attn_out", RowParallelLinear(b.In("out_proj"), y, x.shape()[1], Bias::kNone, split));
}

}  // namespace intaglio::layers
