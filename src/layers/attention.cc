#include "layers/attention.h"

namespace intaglio::layers {

using graph::Builder;
using graph::Shard;
using graph::ValueRef;

ValueRef SelfAttention(const Builder& b, ValueRef x, const AttentionConfig& config) {
  const auto [heads, kv_heads, head_dim] = std::array{config.heads, config.kv_heads, config.head_dim};
  b.Probe("attn_in", x);
  ValueRef q = ColumnParallelLinear(b.In("q_proj"), x, heads * head_dim, config.qkv_bias, Shard::kQueryHeads);
  ValueRef k = ColumnParallelLinear(b.In("k_proj"), x, kv_heads * head_dim, config.qkv_bias, Shard::kKvHeads);
  const ValueRef v = b.Probe("v", ColumnParallelLinear(b.In("v_proj"), x, kv_heads * head_dim, config.qkv_bias, Shard::kKvHeads));
  if (config.qk_norm) {
    q = HeadRmsNorm(b.In("q_norm"), q, head_dim, *config.qk_norm);
    k = HeadRmsNorm(b.In("k_norm"), k, head_dim, *config.qk_norm);
  }
  q = b.Probe("q_rope", Rope(b, q, head_dim, *config.rope));
  k = b.Probe("k_rope", Rope(b, k, head_dim, *config.rope));
  const ValueRef cache = KvUpdate(b, b.Cache({.kv_heads = kv_heads, .head_dim = head_dim, .window = config.window}), k, v);
  const ValueRef context =
      b.Probe("attn_ctx",
              Attention(b, q, cache, {.heads = heads, .kv_heads = kv_heads, .head_dim = head_dim, .window = config.window, .scale = config.scale}));
  const KSplit split{.shard = Shard::kHeadColumns, .segments = HeadSegments(heads, kv_heads, head_dim)};
  return b.Probe("attn_out", RowParallelLinear(b.In("o_proj"), context, x.shape()[1], config.out_bias, split));
}

}  // namespace intaglio::layers
