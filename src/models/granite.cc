// Granite 3: Llama with a multiplier on embeddings, scores, what each block adds, and logits. From
// transformers/models/granite/modeling_granite.py
#include "models/config_fields.h"

namespace intaglio::models {

using namespace layers;

namespace {

DecoderConfig ParseConfig(const checkpoint::HfConfig& config) {
  DecoderConfig decoder = ParseDecoder(config, {});
  decoder.embedding_scale = PositiveNumber(config, "embedding_multiplier", 1.0);
  decoder.logits_scale = 1.0f / PositiveNumber(config, "logits_scaling", 1.0);
  const Bias attention_bias = config.Bool("attention_bias", false) ? Bias::kAdded : Bias::kNone;
  const Bias mlp_bias = config.Bool("mlp_bias", false) ? Bias::kAdded : Bias::kNone;
  const float scale = PositiveNumber(config, "attention_multiplier", 1.0), residual_scale = PositiveNumber(config, "residual_multiplier", 1.0);
  ForEachLayer(decoder, [&](LayerConfig& layer) {
    layer.attention.scale = scale;
    layer.attention.qkv_bias = layer.attention.out_bias = attention_bias;
    layer.mlp.bias = mlp_bias;
    layer.residual_scale = residual_scale;
  });
  return decoder;
}

graph::ValueRef DecoderLayer(const graph::Builder& b, const LayerConfig& c, graph::ValueRef x) {
  const graph::ValueRef attended = SelfAttention(b.In("self_attn"), RmsNorm(b.In("input_layernorm"), x, c.norm), c.attention);
  x = Add(b, x, Scale(b, attended, c.residual_scale));
  const graph::ValueRef transformed = GatedMlp(b.In("mlp"), RmsNorm(b.In("post_attention_layernorm"), x, c.norm), c.mlp);
  return Add(b, x, Scale(b, transformed, c.residual_scale));
}

}  // namespace

extern const Architecture kGranite{.hf_names = {"GraniteForCausalLM"}, .parse_config = ParseConfig, .layer = DecoderLayer};

}  // namespace intaglio::models
