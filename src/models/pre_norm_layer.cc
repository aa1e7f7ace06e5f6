#include "models/pre_norm_layer.h"

namespace intaglio::models {

using namespace layers;
using graph::Builder;
using graph::ValueRef;

namespace {

// The layer's attention, of whichever kind.
ValueRef Attend(const Builder& b, const LayerConfig& c, ValueRef x) {
  if (c.linear_attention) return GatedDeltaNet(b.In("linear_attn"), x, *c.linear_attention);
  if (c.latent_attention) return LatentAttention(b.In("self_attn"), x, *c.latent_attention);
  return SelfAttention(b.In("self_attn"), x, c.attention);
}

}  // namespace

ValueRef PreNormLayer(const Builder& b, const LayerConfig& c, ValueRef x) {
  x = Add(b, x, Scale(b, Attend(b, c, RmsNorm(b.In("input_layernorm"), x, c.norm)), c.residual_scale));
  const ValueRef normed = RmsNorm(b.In("post_attention_layernorm"), x, c.norm);
  const Builder mlp = b.In(c.mlp_scope);
  return Add(b, x, Scale(b, c.moe ? MixtureOfExperts(mlp, normed, *c.moe) : GatedMlp(mlp, normed, c.mlp), c.residual_scale));
}

}  // namespace intaglio::models
