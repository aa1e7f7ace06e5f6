// Self-attention with grouped queries, over this layer's KV cache: causal, or of an encoder.
#pragma once
#include <memory>
#include <optional>
#include <string_view>

#include "layers/linear.h"
#include "layers/norm.h"
#include "layers/rope.h"

namespace intaglio::layers {

// What a norm of q or k is taken over: each head by itself, or all heads together.
enum class NormSpan : uint8_t { kHead, kAllHeads };

// Queries of far positions are sharpened (arXiv 2501.19399, as Llama 4 has it): q *= 1 + scale * log(1 + floor((position + 1) / floor)).
struct Temperature {
  double scale = 0, floor = 1;
};

// What the checkpoint calls the projections.
struct AttentionScopes {
  std::string_view q = "q_proj", k = "k_proj", v = "v_proj", out = "o_proj";
};

struct AttentionConfig {
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  int64_t window = 0;                          // positions in reach, the row's own included; 0: all
  int64_t chunk = 0;                           // positions of a chunk, beyond which nothing is in reach; 0: none
  float scale = 0;                             // of q k^T
  float softcap = 0;                           // of scores; 0: none
  bool has_sinks = false;                      // one more logit a head, "<scope>.sinks"
  bool has_output_gate = false;                // q_proj has [q, gate] of each head; what attention gives is multiplied by sigmoid(gate)
  float key_scale = 1.0f;                      // of k as projected
  Bias qkv_bias = Bias::kNone, out_bias = Bias::kNone;
  Storage qkv = Storage::kSeparate;            // stacked: "qkv_proj", in that order
  std::optional<NormConfig> qk_norm;           // of q and k, before the rotary embedding
  NormSpan qk_norm_span = NormSpan::kHead;
  bool sees_both_ways = false;                 // an encoder: later positions too, within the window
  AttentionScopes scopes;
  std::shared_ptr<const RopeTable> rope;       // shared by the layers that rotate alike; null: none (NoPE)
  graph::RopeStyle rope_style = graph::RopeStyle::kHalves;
  float rotated_norm_eps = 0;                  // of a norm of q and k heads without a weight, after the rotary embedding; 0: none
  std::optional<Temperature> temperature;
};

// x -> q_proj, k_proj, v_proj -> [q_norm, k_norm] -> rope -> [unweighted norm] -> attention -> [gate] -> o_proj.
// Probes: attn_in, q_rope, k_rope, v, attn_ctx, attn_out.
[[nodiscard]] graph::ValueRef SelfAttention(const graph::Builder& b, graph::ValueRef x, const AttentionConfig& config);

}  // namespace intaglio::layers
