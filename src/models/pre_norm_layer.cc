#include "models/pre_norm_layer.h"

namespace intaglio::models {

using namespace layers;

graph::ValueRef PreNormLayer(const graph::Builder& b, const LayerConfig& c, graph::ValueRef x) {
  x = Add(b, x, SelfAttention(b.In("self_attn"), RmsNorm(b.In("input_layernorm"), x, c.norm), c.attention));
  return Add(b, x, GatedMlp(b.In("mlp"), RmsNorm(b.In("post_attention_layernorm"), x, c.norm), c.mlp));
}

}  // namespace intaglio::models
