// OLMo 2: Llama whose blocks are normalised after attention and MLP instead of before, with a norm over all of q and over all of k. From
// transformers/models/olmo2/modeling_olmo2.py
#include "models/config_fields.h"

namespace intaglio::models {

using namespace layers;

namespace {

DecoderConfig ParseConfig(const checkpoint::HfConfig& config) {
  DecoderConfig decoder = ParseDecoder(config, {.norm_eps = 1e-5});
  const Bias bias = ParseBias(config, "attention_bias");
  ForEachLayer(decoder, [&](LayerConfig& layer) {
    layer.attention.qk_norm = decoder.norm;
    layer.attention.qk_norm_span = NormSpan::kAllHeads;
    layer.attention.qkv_bias = layer.attention.out_bias = bias;
  });
  return decoder;
}

graph::ValueRef DecoderLayer(const graph::Builder& b, const LayerConfig& c, graph::ValueRef x) {
  const graph::ValueRef attended = SelfAttention(b.In("self_attn"), x, c.attention);
  x = Add(b, x, RmsNorm(b.In("post_attention_layernorm"), attended, c.norm));
  const graph::ValueRef transformed = GatedMlp(b.In("mlp"), x, c.mlp);
  return Add(b, x, RmsNorm(b.In("post_feedforward_layernorm"), transformed, c.norm));
}

}  // namespace

extern const Architecture kOlmo2{.hf_names = {"Olmo2ForCausalLM"}, .parse_config = ParseConfig, .layer = DecoderLayer};

}  // namespace intaglio::models
