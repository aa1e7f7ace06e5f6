// SmolLM3: Llama in which some layers do not rotate (NoPE), every fourth unless the config lists them; those may slide. From
// transformers/models/smollm3/modeling_smollm3.py
#include "base/fail.h"
#include "models/config_fields.h"
#include "models/pre_norm_layer.h"

namespace intaglio::models {

using layers::Bias;

namespace {

std::vector<bool> WhichSlide(const checkpoint::HfConfig& config, const std::vector<bool>& rotates) {
  const bool has_window = config.Bool("use_sliding_window", false) && config.has("sliding_window");
  std::optional<std::vector<bool>> is_sliding = SlidingLayers(config, rotates.size());
  for (size_t i = 0; is_sliding && i < rotates.size(); ++i) {
    Require(!(*is_sliding)[i] || has_window, ErrorCode::kDataLoss, config.where(),
            ": layer_types has sliding_attention, but use_sliding_window is not true or sliding_window is missing");
  }
  if (is_sliding) return *is_sliding;
  is_sliding.emplace();
  for (bool layer_rotates : rotates) is_sliding->push_back(has_window && !layer_rotates);
  return *is_sliding;
}

DecoderConfig ParseConfig(const checkpoint::HfConfig& config) {
  const int64_t kv_heads = config.is_null("num_key_value_heads") ? 0 : 4;
  DecoderConfig decoder = ParseDecoder(config, {.kv_heads = kv_heads, .ties_embeddings = true, .rope_theta = 2e6});
  const Bias attention_bias = ParseBias(config, "attention_bias");
  const Bias mlp_bias = ParseBias(config, "mlp_bias");
  const std::vector<bool> rotates = RotatingLayers(config, decoder.layers.size());
  SetWindows(config, WhichSlide(config, rotates), decoder);
  for (size_t i = 0; i < decoder.layers.size(); ++i) {
    LayerConfig& layer = decoder.layers[i];
    layer.attention.qkv_bias = layer.attention.out_bias = attention_bias;
    layer.mlp.bias = mlp_bias;
    if (!rotates[i]) layer.attention.rope = nullptr;
  }
  return decoder;
}

}  // namespace

extern const Architecture kSmolLm3{.hf_names = {"SmolLM3ForCausalLM"}, .parse_config = ParseConfig, .layer = PreNormLayer};

}  // namespace intaglio::models
