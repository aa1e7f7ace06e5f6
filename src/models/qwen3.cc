// Qwen3: Llama whose query and key heads are RMS-normalised before RoPE. From transformers/models/qwen3/modeling_qwen3.py
#include "models/config_fields.h"
#include "models/pre_norm_layer.h"

namespace intaglio::models {

using layers::Bias;

namespace {

DecoderConfig ParseConfig(const checkpoint::HfConfig& config) {
  DecoderConfig decoder = ParseDecoder(config, {.head_dim = 128, .kv_heads = 32});
  const Bias bias = ParseBias(config, "attention_bias");
  ForEachLayer(decoder, [&](LayerConfig& layer) {
    layer.attention.qk_norm = decoder.norm;
    layer.attention.qkv_bias = layer.attention.out_bias = bias;
  });
  SetQwenWindows(config, decoder);
  return decoder;
}

}  // namespace

extern const Architecture kQwen3{.hf_names = {"Qwen3ForCausalLM"}, .parse_config = ParseConfig, .layer = PreNormLayer};

}  // namespace intaglio::models
