// Qwen3-MoE: Qwen3 with a mixture of experts in every layer that config.json does not keep dense. From
// transformers/models/qwen3_moe/modeling_qwen3_moe.py
#include <algorithm>

#include "models/config_fields.h"
#include "models/moe_fields.h"
#include "models/pre_norm_layer.h"

namespace intaglio::models {

using namespace layers;

namespace {

DecoderConfig ParseConfig(const checkpoint::HfConfig& config) {
  DecoderConfig decoder = ParseDecoder(config, {.kv_heads = 4});
  const Bias bias = ParseBias(config, "attention_bias");
  const std::string_view experts_key = config.has("num_experts") ? "num_experts" : "num_local_experts";
  MoeConfig moe{.route = ParseRoute(config, {.experts_key = experts_key, .num_experts = 128, .top_k = 8}),
                .intermediate_size = Size(config, "moe_intermediate_size")};
  moe.route.normalise = config.Bool("norm_topk_prob", false);
  const std::vector<int32_t> dense_layers = config.Ids("mlp_only_layers");
  const int64_t sparse_step = Size(config, "decoder_sparse_step", 1);
  for (size_t i = 0; i < decoder.layers.size(); ++i) {
    LayerConfig& layer = decoder.layers[i];
    layer.attention.qk_norm = decoder.norm;
    layer.attention.qkv_bias = layer.attention.out_bias = bias;
    const bool is_dense = std::ranges::find(dense_layers, static_cast<int32_t>(i)) != dense_layers.end();
    if (!is_dense && (static_cast<int64_t>(i) + 1) % sparse_step == 0) layer.moe = moe;
  }
  SetQwenWindows(config, decoder);
  return decoder;
}

}  // namespace

extern const Architecture kQwen3Moe{.hf_names = {"Qwen3MoeForCausalLM"}, .parse_config = ParseConfig, .layer = PreNormLayer};

}  // namespace intaglio::models
