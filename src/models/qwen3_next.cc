// Qwen3-Next: linear attention by the gated delta rule in three of four layers; the others are Qwen3's with a gate on what attention gives;
// mixtures of experts with a gated shared one; norm weights stored minus one. From transformers/models/qwen3_next/modeling_qwen3_next.py
#include <algorithm>

#include "base/fail.h"
#include "graph/infer.h"
#include "models/config_fields.h"
#include "models/moe_fields.h"
#include "models/pre_norm_layer.h"

namespace intaglio::models {

using namespace layers;
using checkpoint::HfConfig;

namespace {

// True for each layer of linear attention: as layer_types says, else all but every fourth.
std::vector<bool> LinearLayers(const HfConfig& config, size_t num_layers) {
  if (const auto is_linear = LayersOfType(config, "linear_attention", num_layers)) return *is_linear;
  std::vector<bool> is_linear;
  const auto interval = static_cast<size_t>(Size(config, "full_attention_interval", 4));
  for (size_t i = 0; i < num_layers; ++i) is_linear.push_back((i + 1) % interval != 0);
  return is_linear;
}

DeltaNetConfig ParseDeltaNet(const HfConfig& config, const NormConfig& norm) {
  const DeltaNetConfig delta{.key_heads = Size(config, "linear_num_key_heads", 16),
                             .value_heads = Size(config, "linear_num_value_heads", 32),
                             .key_dim = Size(config, "linear_key_head_dim", 128),
                             .value_dim = Size(config, "linear_value_head_dim", 128),
                             .taps = Size(config, "linear_conv_kernel_dim", 4),
                             .norm = {.eps = norm.eps}};
  Require(delta.value_heads % delta.key_heads == 0, ErrorCode::kDataLoss, config.where(), ": linear_num_value_heads ", delta.value_heads,
          " is not a multiple of linear_num_key_heads ", delta.key_heads);
  Require(delta.taps >= 2 && delta.taps <= graph::kMaxConvTaps, ErrorCode::kUnsupported, config.where(), ": linear_conv_kernel_dim is ", delta.taps,
          "; supported: 2 to ", graph::kMaxConvTaps);
  Require(delta.key_dim <= graph::kMaxStateDim && delta.value_dim <= graph::kMaxStateDim, ErrorCode::kUnsupported, config.where(),
          ": linear_key_head_dim is ", delta.key_dim, " and linear_value_head_dim ", delta.value_dim, "; at most ", graph::kMaxStateDim,
          " are supported");
  return delta;
}

void SetExperts(const HfConfig& config, DecoderConfig& decoder) {
  MoeConfig moe{.route = ParseRoute(config, {.num_experts = 512, .top_k = 10}),
                .intermediate_size = Size(config, "moe_intermediate_size", 512),
                .shared = MlpConfig{.intermediate_size = Size(config, "shared_expert_intermediate_size", 512)},
                .gates_shared = true};
  moe.route.normalise = config.Bool("norm_topk_prob", true);
  const std::vector<int32_t> dense_layers = config.Ids("mlp_only_layers");
  const int64_t sparse_step = Size(config, "decoder_sparse_step", 1);
  for (size_t i = 0; i < decoder.layers.size(); ++i) {
    const bool is_dense = std::ranges::find(dense_layers, static_cast<int32_t>(i)) != dense_layers.end();
    if (is_dense || (static_cast<int64_t>(i) + 1) % sparse_step != 0) continue;
    decoder.layers[i].moe = moe;
  }
}

DecoderConfig ParseConfig(const HfConfig& config) {
  DecoderConfig decoder = ParseDecoder(config, {.head_dim = 256, .kv_heads = 2, .rotates_partly = true, .partial_rotary_factor = 0.25});
  Require(decoder.layers.front().mlp.activation == Activation::kSilu, ErrorCode::kUnsupported, config.where(), ": hidden_act is \"",
          config.String("hidden_act"), "\"; experts and convolutions of this architecture support silu");
  decoder.norm.add = 1;
  const DeltaNetConfig delta = ParseDeltaNet(config, decoder.norm);
  const std::vector<bool> is_linear = LinearLayers(config, decoder.layers.size());
  const Bias bias = ParseBias(config, "attention_bias");
  for (size_t i = 0; i < decoder.layers.size(); ++i) {
    LayerConfig& layer = decoder.layers[i];
    layer.norm = decoder.norm;
    layer.attention.qk_norm = decoder.norm;
    layer.attention.has_output_gate = true;
    layer.attention.qkv_bias = layer.attention.out_bias = bias;
    if (is_linear[i]) layer.linear_attention = delta;
  }
  SetExperts(config, decoder);
  return decoder;
}

}  // namespace

extern const Architecture kQwen3Next{.hf_names = {"Qwen3NextForCausalLM"}, .parse_config = ParseConfig, .layer = PreNormLayer};

}  // namespace intaglio::models
