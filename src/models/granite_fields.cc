#include "models/granite_fields.h"

#include "models/config_fields.h"

namespace intaglio::models {

using layers::Bias;

DecoderConfig ParseGranite(const checkpoint::HfConfig& config) {
  DecoderConfig decoder = ParseDecoder(config, {});
  decoder.embedding_scale = PositiveNumber(config, "embedding_multiplier", 1.0);
  decoder.logits_scale = 1.0f / PositiveNumber(config, "logits_scaling", 1.0);
  const Bias attention_bias = ParseBias(config, "attention_bias");
  const float scale = PositiveNumber(config, "attention_multiplier", 1.0), residual_scale = PositiveNumber(config, "residual_multiplier", 1.0);
  ForEachLayer(decoder, [&](LayerConfig& layer) {
    layer.attention.scale = scale;
    layer.attention.qkv_bias = layer.attention.out_bias = attention_bias;
    layer.residual_scale = residual_scale;
  });
  return decoder;
}

}  // namespace intaglio::models
