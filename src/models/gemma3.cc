// Gemma 3, text only: norms before and after both blocks, q/k norm, local layers with a window and a rotary base of their own, scaled
// embeddings, GELU. From transformers/models/gemma3/modeling_gemma3.py
#include <cmath>

#include "base/fail.h"
#include "models/config_fields.h"
#include "models/sandwich_norm_layer.h"

namespace intaglio::models {

using layers::Bias;

namespace {

void RefuseUnsupported(const checkpoint::HfConfig& config) {
  for (const char* key : {"attn_logit_softcapping", "final_logit_softcapping"}) {
    Require(!config.has(key), ErrorCode::kUnsupported, config.where(), ": ", key, " is set; supported for Gemma 3: null");
  }
}

// An embedder sees both ways. config.json then states the whole width of the window, of which Transformers keeps one side and the row itself.
void SeeBothWays(DecoderConfig& decoder) {
  decoder.sees_both_ways = true;
  ForEachLayer(decoder, [](LayerConfig& layer) {
    layer.attention.sees_both_ways = true;
    if (layer.attention.window != 0) layer.attention.window = layer.attention.window / 2 + 1;
  });
}

// All but every sixth layer slide, unless the config says otherwise. Transformers has spelled the period in two ways.
std::vector<bool> WhichSlide(const checkpoint::HfConfig& config, size_t num_layers) {
  if (auto is_sliding = SlidingLayers(config, num_layers)) return *is_sliding;
  const auto period = static_cast<size_t>(Size(config, "sliding_window_pattern", Size(config, "_sliding_window_pattern", 6)));
  std::vector<bool> is_sliding;
  for (size_t i = 0; i < num_layers; ++i) is_sliding.push_back((i + 1) % period != 0);
  return is_sliding;
}

DecoderConfig ParseConfig(const checkpoint::HfConfig& config) {
  RefuseUnsupported(config);
  DecoderConfig decoder = ParseDecoder(config, {.head_dim = 256,
                                                .kv_heads = 4,
                                                .ties_embeddings = true,
                                                .activation_key = "hidden_activation",
                                                .activation = "gelu_pytorch_tanh",
                                                .rope_theta = 1'000'000.0,
                                                .rope_layer_type = "full_attention"});
  decoder.embedding_scale = static_cast<float>(std::sqrt(static_cast<double>(decoder.hidden_size)));
  decoder.norm.add = 1.0f;
  const float scale = static_cast<float>(1 / std::sqrt(static_cast<double>(Size(config, "query_pre_attn_scalar", 256))));
  const Bias bias = ParseBias(config, "attention_bias");
  ForEachLayer(decoder, [&](LayerConfig& layer) {
    layer.norm = decoder.norm;
    layer.attention.qk_norm = decoder.norm;
    layer.attention.scale = scale;
    layer.attention.qkv_bias = layer.attention.out_bias = bias;
  });
  const std::vector<bool> is_sliding = WhichSlide(config, decoder.layers.size());
  SetWindows(config, is_sliding, decoder);
  const auto local_rope =
      MakeRopeTable(config, config.Rope(SupportedRopeTypes(), "sliding_attention", "rope_local_base_freq"), decoder.layers[0].attention.head_dim);
  ForEachLayer(decoder, [&](LayerConfig& layer) {
    if (layer.attention.window != 0) layer.attention.rope = local_rope;
  });
  if (config.Bool("use_bidirectional_attention", false)) SeeBothWays(decoder);
  return decoder;
}

}  // namespace

extern const Architecture kGemma3{.hf_names = {"Gemma3ForCausalLM", "Gemma3TextModel"}, .parse_config = ParseConfig, .layer = SandwichNormLayer};

}  // namespace intaglio::models
