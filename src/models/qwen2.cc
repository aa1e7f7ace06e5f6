// Qwen2 and Qwen2.5: Llama with biases on q, k and v only; later layers may slide. From transformers/models/qwen2/modeling_qwen2.py
#include "models/config_fields.h"
#include "models/pre_norm_layer.h"

namespace intaglio::models {

using layers::Bias;

namespace {

DecoderConfig ParseConfig(const checkpoint::HfConfig& config) {
  DecoderConfig decoder = ParseDecoder(config, {.kv_heads = 32});
  ForEachLayer(decoder, [](LayerConfig& layer) { layer.attention.qkv_bias = Bias::kAdded; });
  SetQwenWindows(config, decoder);
  return decoder;
}

}  // namespace

extern const Architecture kQwen2{.hf_names = {"Qwen2ForCausalLM"}, .parse_config = ParseConfig, .layer = PreNormLayer};

}  // namespace intaglio::models
