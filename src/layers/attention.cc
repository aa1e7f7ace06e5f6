#include "layers/attention.h"

#include <cmath>

#include "base/strings.h"

namespace intaglio::layers {

using graph::Builder;
using graph::Shard;
using graph::ValueRef;

namespace {

struct Heads {
  std::string_view projection, norm;   // scopes
  int64_t first = 0, count = 0;        // in the order of a stacked tensor
  Shard shard;
};

ValueRef Project(const Builder& b, ValueRef x, const AttentionConfig& config, const Heads& heads) {
  const int64_t cols = heads.count * config.head_dim;
  if (config.qkv == Storage::kSeparate) return ColumnParallelLinear(b.In(heads.projection), x, cols, config.qkv_bias, heads.shard);
  return StackedLinear(b, x, {.name = heads.projection, .out_features = cols, .bias = config.qkv_bias, .shard = heads.shard},
                       {.module = "qkv_proj",
                        .all_rows = (config.heads + 2 * config.kv_heads) * config.head_dim,
                        .runs = {.first_row = heads.first * config.head_dim}});
}

// One half of every head's rows of "q_proj": 0, the query, or 1, its gate.
ValueRef ProjectHalf(const Builder& b, ValueRef x, const AttentionConfig& config, int64_t half) {
  const int64_t head_dim = config.head_dim, rows = config.heads * head_dim;
  return StackedLinear(
      b, x, {.name = half == 0 ? "q_proj" : "q_gate", .out_features = rows, .bias = config.qkv_bias, .shard = Shard::kQueryHeads},
      {.module = "q_proj", .all_rows = 2 * rows, .runs = {.first_row = half * head_dim, .count = config.heads, .step = 2 * head_dim}});
}

ValueRef Normalise(const Builder& b, ValueRef x, const AttentionConfig& config, const Heads& heads) {
  const Builder norm = b.In(heads.norm);
  if (config.qk_norm_span == NormSpan::kHead) return HeadRmsNorm(norm, x, config.head_dim, *config.qk_norm);
  const auto segments = heads.shard == Shard::kQueryHeads ? HeadSegments : KvHeadSegments;
  return SharedRmsNorm(norm, x, *config.qk_norm, heads.shard, segments(config.heads, config.kv_heads, config.head_dim));
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

ValueRef Attend(const Builder& b, ValueRef q, ValueRef k, ValueRef v, const AttentionConfig& config) {
  const graph::AttentionAttrs attrs{.heads = config.heads,
                                    .kv_heads = config.kv_heads,
                                    .head_dim = config.head_dim,
                                    .window = config.window,
                                    .scale = config.scale,
                                    .chunk = config.chunk,
                                    .softcap = config.softcap,
                                    .has_sinks = config.has_sinks,
                                    .sees_both_ways = config.sees_both_ways};
  const ValueRef cache = KvUpdate(b, b.Cache({.kv_heads = config.kv_heads, .head_dim = config.head_dim, .window = attrs.reach()}), k, v);
  const ValueRef sinks = config.has_sinks ? b.Weight("sinks", {config.heads}, Shard::kQueryHeads, graph::Layout::kVector) : ValueRef{};
  return Attention(b, q, cache, attrs, sinks);
}

}  // namespace

ValueRef SelfAttention(const Builder& b, ValueRef x, const AttentionConfig& config) {
  const int64_t heads = config.heads, kv_heads = config.kv_heads, head_dim = config.head_dim;
  const Heads q_heads{.projection = config.scopes.q, .norm = "q_norm", .first = 0, .count = heads, .shard = Shard::kQueryHeads},
      k_heads{.projection = config.scopes.k, .norm = "k_norm", .first = heads, .count = kv_heads, .shard = Shard::kKvHeads},
      v_heads{.projection = config.scopes.v, .norm = {}, .first = heads + kv_heads, .count = kv_heads, .shard = Shard::kKvHeads};
  b.Probe("attn_in", x);
  ValueRef q = config.has_output_gate ? ProjectHalf(b, x, config, 0) : Project(b, x, config, q_heads);
  ValueRef k = Project(b, x, config, k_heads);
  const ValueRef v = b.Probe("v", Project(b, x, config, v_heads));
  const ValueRef gate = config.has_output_gate ? ProjectHalf(b, x, config, 1) : ValueRef{};
  k = Scale(b, k, config.key_scale);
  if (config.qk_norm) {
    q = Normalise(b, q, config, q_heads);
    k = Normalise(b, k, config, k_heads);
  }
  if (config.rope != nullptr) {
    q = Rope(b, q, head_dim, *config.rope, config.rope_style);
    k = Rope(b, k, head_dim, *config.rope, config.rope_style);
  }
  if (config.rotated_norm_eps != 0) {
    q = UnweightedHeadNorm(b.In("q_norm"), q, head_dim, config.rotated_norm_eps);
    k = UnweightedHeadNorm(b.In("k_norm"), k, head_dim, config.rotated_norm_eps);
  }
  if (config.temperature) q = ScaleByPosition(b, q, TemperatureTable(b, *config.temperature));
  b.Probe("q_rope", q), b.Probe("k_rope", k);
  ValueRef context = b.Probe("attn_ctx", Attend(b, q, k, v, config));
  if (config.has_output_gate) context = SigmoidGate(b, context, gate);
  const KSplit split{.shard = Shard::kHeadColumns, .segments = HeadSegments(heads, kv_heads, head_dim)};
  return b.Probe("attn_out", RowParallelLinear(b.In(config.scopes.out), context, x.shape()[1], config.out_bias, split));
}

}  // namespace intaglio::layers
