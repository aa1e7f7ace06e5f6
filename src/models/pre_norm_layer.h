// The decoder layer that Llama set and most families kept.
#pragma once
#include "models/architecture.h"

namespace intaglio::models {

// x += self_attn(input_layernorm(x)); x += mlp(post_attention_layernorm(x))
[[nodiscard]] graph::ValueRef PreNormLayer(const graph::Builder& b, const LayerConfig& config, graph::ValueRef x);

}  // namespace intaglio::models
