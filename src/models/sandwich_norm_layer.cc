#include "models/sandwich_norm_layer.h"

namespace intaglio::models {

using namespace layers;
using graph::ValueRef;

ValueRef SandwichNormLayer(const graph::Builder& b, const LayerConfig& c, ValueRef x) {
  const ValueRef attended = SelfAttention(b.In("self_attn"), RmsNorm(b.In("input_layernorm"), x, c.norm), c.attention);
  x = Add(b, x, RmsNorm(b.In("post_attention_layernorm"), attended, c.norm));
  const ValueRef transformed = GatedMlp(b.In("mlp"), RmsNorm(b.In("pre_feedforward_layernorm"), x, c.norm), c.mlp);
  return Add(b, x, RmsNorm(b.In("post_feedforward_layernorm"), transformed, c.norm));
}

}  // namespace intaglio::models
