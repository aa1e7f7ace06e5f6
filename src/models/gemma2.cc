// Gemma 2: Gemma 3 without q/k norm, with softcaps on scores and logits; every other layer slides, from the first on, and all rotate alike.
// From transformers/models/gemma2/modeling_gemma2.py
#include <cmath>

#include "base/fail.h"
#include "models/config_fields.h"
#include "models/sandwich_norm_layer.h"

namespace intaglio::models {

using layers::Bias;

namespace {

// Null switches a softcap off; a config that does not speak of it means the class's default.
float Softcap(const checkpoint::HfConfig& config, std::string_view key, double otherwise) {
  return config.is_null(key) ? 0.0f : PositiveNumber(config, key, otherwise);
}

std::vector<bool> WhichSlide(const checkpoint::HfConfig& config, size_t num_layers) {
  if (auto is_sliding = SlidingLayers(config, num_layers)) return *is_sliding;
  std::vector<bool> is_sliding;
  for (size_t i = 0; i < num_layers; ++i) is_sliding.push_back(i % 2 == 0);
  return is_sliding;
}

DecoderConfig ParseConfig(const checkpoint::HfConfig& config) {
  Require(!config.Bool("use_bidirectional_attention", false), ErrorCode::kUnsupported, config.where(),
          ": use_bidirectional_attention is true; supported: false (causal decoders)");
  DecoderConfig decoder = ParseDecoder(
      config, {.head_dim = 256, .kv_heads = 4, .ties_embeddings = true, .activation_key = "hidden_activation", .activation = "gelu_pytorch_tanh"});
  decoder.embedding_scale = static_cast<float>(std::sqrt(static_cast<double>(decoder.hidden_size)));
  decoder.logits_softcap = Softcap(config, "final_logit_softcapping", 30.0);
  decoder.norm.add = 1.0f;
  const Bias bias = ParseBias(config, "attention_bias");
  const auto scale = static_cast<float>(std::pow(static_cast<double>(Size(config, "query_pre_attn_scalar", 256)), -0.5));
  const float softcap = Softcap(config, "attn_logit_softcapping", 50.0);
  ForEachLayer(decoder, [&](LayerConfig& layer) {
    layer.norm = decoder.norm;
    layer.attention.scale = scale;
    layer.attention.softcap = softcap;
    layer.attention.qkv_bias = layer.attention.out_bias = bias;
  });
  if (!config.is_null("sliding_window")) SetWindows(config, WhichSlide(config, decoder.layers.size()), decoder, 4096);
  return decoder;
}

}  // namespace

extern const Architecture kGemma2{.hf_names = {"Gemma2ForCausalLM"}, .parse_config = ParseConfig, .layer = SandwichNormLayer};

}  // namespace intaglio::models
