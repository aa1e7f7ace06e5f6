#include "models/pre_norm_layer.h"

namespace intaglio::models {

using namespace layers;
using graph::Builder;
using graph::ValueRef;

namespace {

ValueRef AddScaled(const Builder& b, ValueRef x, ValueRef y, float scale) { return Add(b, x, scale == 1 ? y : Scale(b, y, scale)); }

}  // namespace

ValueRef PreNormLayer(const Builder& b, const LayerConfig& c, ValueRef x) {
  const Builder self_attn = b.In("self_attn"), mlp = b.In(c.mlp_scope);
  ValueRef normed = RmsNorm(b.In("input_layernorm"), x, c.norm);
  x = AddScaled(b, x, c.latent_attention ? LatentAttention(self_attn, normed, *c.latent_attention) : SelfAttention(self_attn, normed, c.attention),
                c.residual_scale);
  normed = RmsNorm(b.In("post_attention_layernorm"), x, c.norm);
  return AddScaled(b, x, c.moe ? MixtureOfExperts(mlp, normed, *c.moe) : GatedMlp(mlp, normed, c.mlp), c.residual_scale);
}

}  // namespace intaglio::models
