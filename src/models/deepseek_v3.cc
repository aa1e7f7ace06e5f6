// DeepSeek-V3 and R1: multi-head latent attention, whose cache holds the latent; a mixture of experts after the first dense layers, chosen
// by groups with a correction bias, beside shared experts. From transformers/models/deepseek_v3/modeling_deepseek_v3.py
#include <cmath>

#include "base/fail.h"
#include "models/config_fields.h"
#include "models/moe_fields.h"
#include "models/pre_norm_layer.h"

namespace intaglio::models {

using namespace layers;

namespace {

constexpr float kLatentNormEps = 1e-6f;   // these norms do not read rms_norm_eps

MoeConfig ParseExperts(const checkpoint::HfConfig& config) {
  const int64_t size = Size(config, "moe_intermediate_size", 2048);
  MoeConfig moe{.route = ParseRoute(config, {.experts_key = "n_routed_experts", .num_experts = 256, .top_k = 8}),
                .correction_bias = "gate.e_score_correction_bias",
                .intermediate_size = size,
                .shared = MlpConfig{.intermediate_size = size * Size(config, "n_shared_experts", 1)},
                .shared_scope = "shared_experts"};
  moe.route.scoring = graph::RouterScoring::kSigmoid;
  moe.route.normalise = config.Bool("norm_topk_prob", true);
  moe.route.scale = PositiveNumber(config, "routed_scaling_factor", 2.5);
  moe.route.num_groups = Size(config, "n_group", 8), moe.route.top_groups = Size(config, "topk_group", 4);
  const int64_t group_size = moe.route.num_experts / moe.route.num_groups;
  Require(moe.route.num_experts % moe.route.num_groups == 0 && group_size >= 2, ErrorCode::kDataLoss, config.where(), ": n_group ",
          moe.route.num_groups, " does not cut ", moe.route.num_experts, " experts into groups of at least two");
  Require(moe.route.top_groups <= moe.route.num_groups && moe.route.top_k <= group_size * moe.route.top_groups, ErrorCode::kDataLoss, config.where(),
          ": num_experts_per_tok ", moe.route.top_k, " cannot come from topk_group ", moe.route.top_groups, " of ", moe.route.num_groups, " groups");
  return moe;
}

// Yarn's sharpening of attention goes into the scale, squared, where mscale_all_dim is set (yarn_apply_mscale).
float AttentionScale(const checkpoint::RopeConfig& rope, int64_t head_dim) {
  const double sharpening = rope.type == "default" ? 1.0 : YarnSharpening(rope.factor, rope.mscale_all_dim);
  return static_cast<float>(std::pow(static_cast<double>(head_dim), -0.5) * sharpening * sharpening);
}

LatentAttentionConfig ParseLatentAttention(const checkpoint::HfConfig& config, int64_t heads) {
  LatentAttentionConfig latent{.heads = heads,
                               .nope_dim = Size(config, "qk_nope_head_dim", 128),
                               .rope_dim = Size(config, "qk_rope_head_dim", 64),
                               .v_dim = Size(config, "v_head_dim", 128),
                               .kv_rank = Size(config, "kv_lora_rank", 512),
                               .q_rank = config.is_null("q_lora_rank") ? 0 : Size(config, "q_lora_rank", 1536),
                               .bias = ParseBias(config, "attention_bias"),
                               .norm = {.eps = kLatentNormEps},
                               .is_interleaved = config.Bool("rope_interleave", true)};
  Require(latent.rope_dim % 2 == 0, ErrorCode::kDataLoss, config.where(), ": qk_rope_head_dim is ", latent.rope_dim, ", expected an even number");
  const checkpoint::RopeConfig rope = config.Rope(SupportedRopeTypes());
  latent.scale = AttentionScale(rope, latent.nope_dim + latent.rope_dim);
  latent.rope = MakeRopeTable(config, rope, latent.rope_dim);
  return latent;
}

DecoderConfig ParseConfig(const checkpoint::HfConfig& config) {
  DecoderConfig decoder = ParseDecoder(config, {.head_dim = Size(config, "qk_rope_head_dim", 64)});
  const MoeConfig moe = ParseExperts(config);
  const LatentAttentionConfig latent = ParseLatentAttention(config, decoder.layers.front().attention.heads);
  const auto num_dense = static_cast<size_t>(Count(config, "first_k_dense_replace", 3));
  for (size_t i = 0; i < decoder.layers.size(); ++i) {
    decoder.layers[i].latent_attention = latent;
    if (i >= num_dense) decoder.layers[i].moe = moe;
  }
  return decoder;
}

}  // namespace

extern const Architecture kDeepseekV3{.hf_names = {"DeepseekV3ForCausalLM"}, .parse_config = ParseConfig, .layer = PreNormLayer};

}  // namespace intaglio::models
