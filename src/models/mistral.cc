// Mistral: Llama with a sliding window in every layer (null: full attention). From transformers/models/mistral/modeling_mistral.py
#include "models/config_fields.h"
#include "models/pre_norm_layer.h"

namespace intaglio::models {
namespace {

DecoderConfig ParseConfig(const checkpoint::HfConfig& config) {
  DecoderConfig decoder = ParseDecoder(config, {.kv_heads = 8});
  if (config.has("sliding_window")) SetWindows(config, std::vector<bool>(decoder.layers.size(), true), decoder);
  return decoder;
}

}  // namespace

extern const Architecture kMistral{.hf_names = {"MistralForCausalLM"}, .parse_config = ParseConfig, .layer = PreNormLayer};

}  // namespace intaglio::models
