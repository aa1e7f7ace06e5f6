// gpt-oss: alternating sliding and full attention with a sink per head, biases everywhere, and a mixture of experts whose gated unit is
// clamped; experts are published as MXFP4 blocks or as plain tensors. From transformers/models/gpt_oss/modeling_gpt_oss.py
#include "base/fail.h"
#include "models/config_fields.h"
#include "models/moe_fields.h"
#include "models/pre_norm_layer.h"

namespace intaglio::models {

using namespace layers;

namespace {

MoeConfig ParseExperts(const checkpoint::HfConfig& config) {
  const ExpertStorage storage = config.quantization() == "mxfp4" ? ExpertStorage::kMxfp4 : ExpertStorage::kStackedInterleaved;
  MoeConfig moe{.route = ParseRoute(config, {.experts_key = "num_local_experts", .num_experts = 128, .top_k = 4}),
                .router = "router",
                .router_bias = Bias::kAdded,
                .expert_bias = Bias::kAdded,
                .intermediate_size = Size(config, "intermediate_size"),
                .activation = ExpertActivation::kClamped,
                .clamp = {.alpha = PositiveNumber(config, "swiglu_alpha", 1.702), .limit = PositiveNumber(config, "swiglu_limit", 7.0)},
                .tensors = {.storage = storage, .gate_up = "gate_up_proj", .down = "down_proj"}};
  moe.route.scoring = graph::RouterScoring::kSoftmaxOfTopK;
  Require(
      storage != ExpertStorage::kMxfp4 || (moe.intermediate_size % graph::kMxfp4Group == 0 && Size(config, "hidden_size") % graph::kMxfp4Group == 0),
      ErrorCode::kDataLoss, config.where(), ": hidden_size and intermediate_size are not multiples of ", graph::kMxfp4Group, ", as MXFP4 needs");
  return moe;
}

// Every other layer slides, the first included, unless config.json says which.
std::vector<bool> WhichSlide(const checkpoint::HfConfig& config, size_t num_layers) {
  if (const auto is_sliding = SlidingLayers(config, num_layers)) return *is_sliding;
  std::vector<bool> is_sliding;
  for (size_t i = 0; i < num_layers; ++i) is_sliding.push_back(i % 2 == 0);
  return is_sliding;
}

DecoderConfig ParseConfig(const checkpoint::HfConfig& config) {
  const FamilyDefaults defaults{.head_dim = 64, .kv_heads = 8, .norm_eps = 1e-5, .rope_theta = 150000.0, .quantization = "mxfp4"};
  DecoderConfig decoder = ParseDecoder(config, defaults);
  const MoeConfig moe = ParseExperts(config);
  const Bias bias = ParseBias(config, "attention_bias", true);
  std::shared_ptr<const RopeTable> rope = decoder.layers.front().attention.rope;
  if (!config.has("rope_scaling") && !config.has("rope_parameters")) {
    const double theta = config.Float("rope_theta", defaults.rope_theta);
    rope = MakeRopeTable(config, {.type = "yarn", .theta = theta, .factor = 32, .original_max_position_embeddings = 4096, .truncate = false},
                         decoder.layers.front().attention.head_dim);
  }
  ForEachLayer(decoder, [&](LayerConfig& layer) {
    layer.moe = moe;
    layer.attention.has_sinks = true;
    layer.attention.qkv_bias = layer.attention.out_bias = bias;
    layer.attention.rope = rope;
  });
  SetWindows(config, WhichSlide(config, decoder.layers.size()), decoder, 128);
  return decoder;
}

}  // namespace

extern const Architecture kGptOss{.hf_names = {"GptOssForCausalLM"}, .parse_config = ParseConfig, .layer = PreNormLayer};

}  // namespace intaglio::models
