// The decoder layer that Llama set and most families kept.
#pragma once
#include "models/architecture.h"

namespace intaglio::models {

// x += self_attn(input_layernorm(x)); x += mlp(post_attention_layernorm(x)). What is added is scaled by residual_scale; attention may be
// latent or linear, the MLP a mixture of experts.
[[nodiscard]] graph::ValueRef PreNormLayer(const graph::Builder& b, const LayerConfig& config, graph::ValueRef x);

}  // namespace intaglio::models
