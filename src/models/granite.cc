// Granite 3: Llama with a multiplier on embeddings, scores, what each block adds, and logits. From
// transformers/models/granite/modeling_granite.py
#include "models/config_fields.h"
#include "models/granite_fields.h"
#include "models/pre_norm_layer.h"

namespace intaglio::models {
namespace {

DecoderConfig ParseConfig(const checkpoint::HfConfig& config) {
  DecoderConfig decoder = ParseGranite(config);
  const layers::Bias bias = ParseBias(config, "mlp_bias");
  ForEachLayer(decoder, [&](LayerConfig& layer) { layer.mlp.bias = bias; });
  return decoder;
}

}  // namespace

extern const Architecture kGranite{.hf_names = {"GraniteForCausalLM"}, .parse_config = ParseConfig, .layer = PreNormLayer};

}  // namespace intaglio::models
