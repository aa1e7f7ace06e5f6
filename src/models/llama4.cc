// Llama 4, text: layers that attend within chunks and rotate, and every fourth one that sees everything, does not rotate and sharpens far
// queries; q and k are normalised after the rotation; a mixture of experts with a shared one, sigmoid scores that scale the experts' input.
// From transformers/models/llama4/modeling_llama4.py
#include <algorithm>

#include "base/fail.h"
#include "models/config_fields.h"
#include "models/moe_fields.h"
#include "models/pre_norm_layer.h"

namespace intaglio::models {

using namespace layers;

namespace {

MoeConfig ParseExperts(const checkpoint::HfConfig& config) {
  MoeConfig moe{.route = ParseRoute(config, {.experts_key = "num_local_experts", .num_experts = 16, .top_k = 1}),
                .router = "router",
                .intermediate_size = Size(config, "intermediate_size"),
                .scales_input = true,
                .tensors = {.storage = ExpertStorage::kStackedTransposed, .gate_up = "gate_up_proj", .down = "down_proj"},
                .shared = MlpConfig{.intermediate_size = Size(config, "intermediate_size")}};
  moe.route.scoring = graph::RouterScoring::kSigmoid;
  return moe;
}

bool HasExperts(const checkpoint::HfConfig& config, size_t layer) {
  if (config.has("moe_layers")) return std::ranges::count(config.Ids("moe_layers"), static_cast<int32_t>(layer)) != 0;
  return (static_cast<int64_t>(layer) + 1) % Size(config, "interleave_moe_layer_step", 1) == 0;
}

DecoderConfig ParseConfig(const checkpoint::HfConfig& config) {
  const int64_t kv_heads = config.is_null("num_key_value_heads") ? 0 : 8, head_dim = config.is_null("head_dim") ? 0 : 128;
  DecoderConfig decoder = ParseDecoder(config, {.head_dim = head_dim, .kv_heads = kv_heads, .norm_eps = 1e-5, .rope_theta = 500000.0});
  const MoeConfig moe = ParseExperts(config);
  const Bias bias = ParseBias(config, "attention_bias");
  const std::vector<bool> rotates = RotatingLayers(config, decoder.layers.size());
  const std::vector<bool> is_chunked = LayersOfType(config, "chunked_attention", rotates.size()).value_or(rotates);
  Require(!config.is_null("attention_chunk_size") || std::ranges::count(is_chunked, true) == 0, ErrorCode::kDataLoss, config.where(),
          ": attention_chunk_size is null, but layers have chunked_attention");
  const bool normalises = config.Bool("use_qk_norm", true), sharpens = config.Bool("attn_temperature_tuning", true);
  const Temperature temperature{.scale = config.Float("attn_scale", 0.1), .floor = static_cast<double>(Size(config, "floor_scale", 8192))};
  for (size_t i = 0; i < decoder.layers.size(); ++i) {
    LayerConfig& layer = decoder.layers[i];
    AttentionConfig& attention = layer.attention;
    attention.qkv_bias = attention.out_bias = bias;
    attention.rope_style = graph::RopeStyle::kInterleaved;
    if (is_chunked[i]) attention.chunk = Size(config, "attention_chunk_size", 8192);
    if (rotates[i] && normalises) attention.rotated_norm_eps = decoder.norm.eps;
    if (!rotates[i]) attention.rope = nullptr;
    if (!rotates[i] && sharpens) attention.temperature = temperature;
    layer.mlp_scope = "feed_forward";
    layer.mlp.intermediate_size = Size(config, "intermediate_size_mlp", 16384);
    if (HasExperts(config, i)) layer.moe = moe;
  }
  return decoder;
}

}  // namespace

extern const Architecture kLlama4{.hf_names = {"Llama4ForCausalLM"}, .parse_config = ParseConfig, .layer = PreNormLayer};

}  // namespace intaglio::models
