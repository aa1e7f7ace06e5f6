#include "layers/attention.h"

#include <cmath>
#include <utility>
#include <vector>

#include "base/strings.h"

namespace intaglio::layers {

using graph::Builder;
using graph::Shard;
using graph::ValueRef;

namespace {

struct Heads {
  std::string_view projection, norm;   // scopes
  int64_t first_row = 0;               // in a stacked tensor
  OwnRows rows;
};

ValueRef Project(const Builder& b, ValueRef x, const AttentionConfig& config, const Heads& heads) {
  if (config.qkv == Storage::kSeparate) return ColumnParallelLinear(b.In(heads.projection), x, heads.rows, config.qkv_bias);
  std::vector<RowRuns> runs;
  for (const Range& range : heads.rows.ranges) runs.push_back({.first_row = heads.first_row + range.begin, .rows = range.size()});
  return StackedLinear(b, x, {.name = heads.projection, .bias = config.qkv_bias, .shard = heads.rows.shard},
                       {.module = "qkv_proj", .all_rows = (config.heads + 2 * config.kv_heads) * config.head_dim, .runs = std::move(runs)});
}

// One half of the rows of each head of "q_proj": 0, the query, or 1, its gate.
ValueRef ProjectHalf(const Builder& b, ValueRef x, const AttentionConfig& config, int64_t half) {
  const int64_t head_dim = config.head_dim;
  const Range own = HeadsOf(config.heads, config.kv_heads, b.place()).query;
  const RowRuns runs{.first_row = (2 * own.begin + half) * head_dim, .rows = head_dim, .count = own.size(), .step = 2 * head_dim};
  return StackedLinear(b, x, {.name = half == 0 ? "q_proj" : "q_gate", .bias = config.qkv_bias, .shard = Shard::kQueryHeads},
                       {.module = "q_proj", .all_rows = 2 * config.heads * head_dim, .runs = {runs}});
}

ValueRef Normalise(const Builder& b, ValueRef x, const AttentionConfig& config, const Heads& heads) {
  const Builder norm = b.In(heads.norm);
  if (config.qk_norm_span == NormSpan::kHead) return HeadRmsNorm(norm, x, config.head_dim, *config.qk_norm);
  const auto segments = heads.rows.shard == Shard::kQueryHeads ? HeadSegments : KvHeadSegments;
  return SharedRmsNorm(norm, x, *config.qk_norm, heads.rows, segments(config.heads, config.kv_heads, config.head_dim));
}

// [max_context, 1], with Transformers' own f32 arithmetic.
ValueRef TemperatureTable(const Builder& b, const Temperature& temperature) {
  std::vector<float> factors;
  for (int64_t position = 0; position < b.max_context(); ++position) {
    const float steps = std::floor((static_cast<float>(position) + 1.0f) / static_cast<float>(temperature.floor));
    factors.push_back(static_cast<float>(std::log1p(static_cast<double>(steps))) * static_cast<float>(temperature.scale) + 1.0f);
  }
  return b.Table(StrCat("temperature.scale", temperature.scale, ".floor", temperature.floor), {b.max_context(), 1},
                 std::make_shared<const std::vector<float>>(std::move(factors)));
}

// Rotates q and k, and what else depends on the position.
void Position(const Builder& b, ValueRef& q, ValueRef& k, const AttentionConfig& config) {
  const int64_t head_dim = config.head_dim;
  if (config.rope != nullptr) {
    q = Rope(b, q, head_dim, *config.rope, config.rope_style);
    k = Rope(b, k, head_dim, *config.rope, config.rope_style);
  }
  if (config.rotated_norm_eps != 0) {
    q = UnweightedHeadNorm(b.In("q_norm"), q, head_dim, config.rotated_norm_eps);
    k = UnweightedHeadNorm(b.In("k_norm"), k, head_dim, config.rotated_norm_eps);
  }
  if (config.temperature) q = ScaleByPosition(b, q, TemperatureTable(b, *config.temperature));
  ProbeWhole(b, "q_rope", q), ProbeWhole(b, "k_rope", k);
}

ValueRef Attend(const Builder& b, ValueRef q, ValueRef k, ValueRef v, const AttentionConfig& config) {
  const OwnHeads own = HeadsOf(config.heads, config.kv_heads, b.place());
  const graph::AttentionAttrs attrs{.heads = own.query.size(),
                                    .kv_heads = std::ssize(own.kv),
                                    .head_dim = config.head_dim,
                                    .window = config.window,
                                    .scale = config.scale,
                                    .chunk = config.chunk,
                                    .softcap = config.softcap,
                                    .has_sinks = config.has_sinks,
                                    .sees_both_ways = config.sees_both_ways};
  const ValueRef cache = KvUpdate(b, b.Cache({.kv_heads = attrs.kv_heads, .head_dim = config.head_dim, .window = attrs.reach()}), k, v);
  const OwnRows sinks_of{.all = config.heads, .ranges = own.QueryRows(1), .shard = Shard::kQueryHeads};
  const ValueRef sinks = config.has_sinks ? DeclareRows(b, sinks_of, {.name = "sinks"}) : ValueRef{};
  return Attention(b, q, cache, attrs, sinks);
}

// The result for every query head of the rank; null if it has none. What ranks do together it does in any case.
ValueRef AttendWithOwnHeads(const Builder& b, ValueRef x, const AttentionConfig& config) {
  const int64_t heads = config.heads, kv_heads = config.kv_heads, head_dim = config.head_dim;
  const OwnHeads own = HeadsOf(heads, kv_heads, b.place());
  const OwnRows q_rows{.all = heads * head_dim, .ranges = own.QueryRows(head_dim), .shard = Shard::kQueryHeads},
      kv_rows{.all = kv_heads * head_dim, .ranges = own.KvRows(head_dim), .shard = Shard::kKvHeads};
  const Heads q_heads{.projection = config.scopes.q, .norm = "q_norm", .first_row = 0, .rows = q_rows},
      k_heads{.projection = config.scopes.k, .norm = "k_norm", .first_row = q_rows.all, .rows = kv_rows},
      v_heads{.projection = config.scopes.v, .norm = {}, .first_row = q_rows.all + kv_rows.all, .rows = kv_rows};
  const bool has_heads = !own.query.is_empty();
  ValueRef q{}, k{}, v{}, gate{};
  if (has_heads) {
    q = config.has_output_gate ? ProjectHalf(b, x, config, 0) : Project(b, x, config, q_heads);
    k = Project(b, x, config, k_heads);
    v = ProbeWhole(b, "v", Project(b, x, config, v_heads));
    if (config.has_output_gate) gate = ProjectHalf(b, x, config, 1);
    k = Scale(b, k, config.key_scale);
  }
  if (config.qk_norm && (has_heads || config.qk_norm_span == NormSpan::kAllHeads)) {
    q = Normalise(b, q, config, q_heads);
    k = Normalise(b, k, config, k_heads);
  }
  if (!has_heads) return {};
  Position(b, q, k, config);
  const ValueRef context = ProbeWhole(b, "attn_ctx", Attend(b, q, k, v, config));
  return config.has_output_gate ? SigmoidGate(b, context, gate) : context;
}

}  // namespace

ValueRef SelfAttention(const Builder& b, ValueRef x, const AttentionConfig& config) {
  b.Probe("attn_in", x);
  const ValueRef context = AttendWithOwnHeads(b, x, config);
  const KSplit split{.shard = Shard::kHeadColumns, .segments = HeadSegments(config.heads, config.kv_heads, config.head_dim)};
  return b.Probe("attn_out", RowParallelLinear(b.In(config.scopes.out), context, x.shape()[1], config.out_bias, split));
}

}  // namespace intaglio::layers
