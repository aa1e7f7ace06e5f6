// Llama 2, 3, 3.1, 3.2 and models of the same shape. From transformers/models/llama/modeling_llama.py
#include "models/config_fields.h"
#include "models/pre_norm_layer.h"

namespace intaglio::models {

using layers::Bias;

namespace {

DecoderConfig ParseConfig(const checkpoint::HfConfig& config) {
  DecoderConfig decoder = ParseDecoder(config, {});
  const Bias attention_bias = ParseBias(config, "attention_bias");
  const Bias mlp_bias = ParseBias(config, "mlp_bias");
  ForEachLayer(decoder, [&](LayerConfig& layer) {
    layer.attention.qkv_bias = layer.attention.out_bias = attention_bias;
    layer.mlp.bias = mlp_bias;
  });
  return decoder;
}

}  // namespace

extern const Architecture kLlama{.hf_names = {"LlamaForCausalLM"}, .parse_config = ParseConfig, .layer = PreNormLayer};

}  // namespace intaglio::models
