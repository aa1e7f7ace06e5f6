// Causal self-attention with grouped queries, over this layer's KV cache.
#pragma once
#include <memory>
#include <optional>

#include "layers/linear.h"
#include "layers/norm.h"
#include "layers/rope.h"

namespace intaglio::layers {

struct AttentionConfig {
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  int64_t window = 0;                          // positions in reach, the row's own included; 0: all
  float scale = 0;                             // of q k^T
  Bias qkv_bias = Bias::kNone, out_bias = Bias::kNone;
  std::optional<NormConfig> qk_norm;           // over each head of q and k, before the rotary embedding
  std::shared_ptr<const RopeTable> rope;       // shared by the layers that rotate alike
};

// x -> q_proj, k_proj, v_proj -> [q_norm, k_norm] -> rope -> attention -> o_proj. Probes: attn_in, q_rope, k_rope, v, attn_ctx, attn_out.
[[nodiscard]] graph::ValueRef SelfAttention(const graph::Builder& b, graph::ValueRef x, const AttentionConfig& config);

}  // namespace intaglio::layers
