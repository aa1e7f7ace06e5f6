// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): keys and values of all heads come from one small vector a position, the
// latent, and that is what the cache holds. The matrices that would expand it are applied to queries and to the result instead.
#pragma once
#include <memory>

#include "layers/linear.h"
#include "layers/norm.h"
#include "layers/rope.h"

namespace intaglio::layers {

struct LatentAttentionConfig {
  int64_t heads = 0;
  int64_t nope_dim = 0, rope_dim = 0;       // columns of a query or key head that are not rotated, and that are
  int64_t v_dim = 0;                        // of a value head
  int64_t kv_rank = 0, q_rank = 0;          // of the latents; q_rank 0: queries come from the input itself
  float scale = 0;                          // of q k^T
  Bias bias = Bias::kNone;                  // of q_a_proj, kv_a_proj_with_mqa and o_proj
  NormConfig norm;                          // of both latents
  bool is_interleaved = true;               // rotary pairs are neighbours in the checkpoint; they come out as halves
  std::shared_ptr<const RopeTable> rope{};
};

// Probes: attn_in, q_rope, k_rope, v (the two expanded, only where probes are kept), attn_ctx, attn_out.
[[nodiscard]] graph::ValueRef LatentAttention(const graph::Builder& b, graph::ValueRef x, const LatentAttentionConfig& config);

}  // namespace intaglio::layers
