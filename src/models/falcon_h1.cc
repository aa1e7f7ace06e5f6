// Falcon-H1: Llama with Mamba-2 beside attention in every layer, and a multiplier on nearly everything. From
// transformers/models/falcon_h1/modeling_falcon_h1.py
#include <algorithm>
#include <cmath>
#include <string>

#include "base/fail.h"
#include "graph/infer.h"
#include "models/config_fields.h"

namespace intaglio::models {

using namespace layers;
using checkpoint::HfConfig;

namespace {

// `count` positive numbers; ones where config.json says nothing.
std::vector<float> Multipliers(const HfConfig& config, std::string_view key, size_t count) {
  const std::vector<double> given = config.Floats(key);
  std::vector<float> multipliers(count, 1.0f);
  if (!config.has(key)) return multipliers;
  Require(given.size() == count, ErrorCode::kDataLoss, config.where(), ": ", key, " has ", given.size(), " entries, expected ", count);
  std::ranges::transform(given, multipliers.begin(), [](double value) { return static_cast<float>(value); });
  for (float value : multipliers) {
    Require(std::isfinite(value) && value > 0, ErrorCode::kDataLoss, config.where(), ": ", key, " has ", value, ", expected positive numbers");
  }
  return multipliers;
}

// Heads, groups and sizes, as FalconH1Config derives and checks them.
void ParseSizes(const HfConfig& config, int64_t hidden_size, MambaConfig& mamba) {
  const int64_t values = config.is_null("mamba_d_ssm") ? Size(config, "mamba_expand", 2) * hidden_size : Size(config, "mamba_d_ssm", 1024);
  mamba.heads = Size(config, "mamba_n_heads", 128);
  mamba.groups = Size(config, "mamba_n_groups", 1);
  mamba.state_dim = Size(config, "mamba_d_state", 256);
  mamba.taps = Size(config, "mamba_d_conv", 4);
  const std::string_view key = "mamba_d_head";
  const bool is_auto = !config.has(key) || !config.is_number(key);
  if (is_auto && config.String(key, "auto") != "auto")
    Fail(ErrorCode::kDataLoss, config.where(), ": ", key, " is \"", config.String(key), "\", expected a number or \"auto\"");
  mamba.head_dim = is_auto ? values / mamba.heads : Size(config, key);
  Require(mamba.head_dim * mamba.heads == values, ErrorCode::kDataLoss, config.where(), ": mamba_n_heads ", mamba.heads, " x mamba_d_head ",
          mamba.head_dim, " is not mamba_d_ssm (or mamba_expand x hidden_size), ", values);
  Require(mamba.heads % mamba.groups == 0, ErrorCode::kDataLoss, config.where(), ": mamba_n_heads ", mamba.heads,
          " is not a multiple of mamba_n_groups ", mamba.groups);
  Require(mamba.taps >= 2 && mamba.taps <= graph::kMaxConvTaps, ErrorCode::kUnsupported, config.where(), ": mamba_d_conv is ", mamba.taps,
          "; supported: 2 to ", graph::kMaxConvTaps);
  Require(mamba.state_dim <= graph::kMaxStateDim && mamba.head_dim <= graph::kMaxStateDim, ErrorCode::kUnsupported, config.where(),
          ": mamba_d_state is ", mamba.state_dim, " and mamba_d_head ", mamba.head_dim, "; at most ", graph::kMaxStateDim, " are supported");
}

// Transformers bounds the steps of a prompt and not those of later tokens; here a token is bounded wherever it stands.
void ParseSteps(const HfConfig& config, MambaConfig& mamba) {
  if (!config.has("time_step_limit")) return;
  const std::vector<double> limits = config.Floats("time_step_limit");
  Require(limits.size() == 2 && limits[0] >= 0 && limits[1] >= limits[0], ErrorCode::kDataLoss, config.where(),
          ": time_step_limit is not two ascending numbers from 0 on");
  mamba.least_step = static_cast<float>(limits[0]), mamba.most_step = static_cast<float>(limits[1]);
}

MambaConfig ParseMamba(const HfConfig& config, const DecoderConfig& decoder) {
  MambaConfig mamba{.conv_bias = ParseBias(config, "mamba_conv_bias", true),
                    .in_bias = ParseBias(config, "mamba_proj_bias"),
                    .out_bias = ParseBias(config, "projectors_bias"),
                    .order = config.Bool("mamba_norm_before_gate", true) ? GateOrder::kNormFirst : GateOrder::kGateFirst,
                    .in_scale = PositiveNumber(config, "ssm_in_multiplier", 1.0),
                    .out_scale = PositiveNumber(config, "ssm_out_multiplier", 1.0)};
  ParseSizes(config, decoder.hidden_size, mamba);
  ParseSteps(config, mamba);
  if (config.Bool("mamba_rms_norm", false)) mamba.norm = decoder.norm;
  std::ranges::copy(Multipliers(config, "ssm_multipliers", mamba.scales.size()), mamba.scales.begin());
  return mamba;
}

DecoderConfig ParseConfig(const HfConfig& config) {
  const int64_t kv_heads = config.is_null("num_key_value_heads") ? 0 : 8;
  DecoderConfig decoder = ParseDecoder(config, {.kv_heads = kv_heads, .norm_eps = 1e-5});
  decoder.norm_scope = "final_layernorm";
  decoder.embedding_scale = PositiveNumber(config, "embedding_multiplier", 1.0);
  decoder.logits_scale = PositiveNumber(config, "lm_head_multiplier", 1.0);
  const MambaConfig mamba = ParseMamba(config, decoder);
  const std::vector<float> mlp_multipliers = Multipliers(config, "mlp_multipliers", 2);
  const float attention_in = PositiveNumber(config, "attention_in_multiplier", 1.0),
              attention_out = PositiveNumber(config, "attention_out_multiplier", 1.0);
  const float key_scale = PositiveNumber(config, "key_multiplier", 1.0);
  const Bias attention_bias = ParseBias(config, "attention_bias"), mlp_bias = ParseBias(config, "mlp_bias");
  Require(decoder.layers.front().mlp.activation == Activation::kSilu, ErrorCode::kUnsupported, config.where(), ": hidden_act is \"",
          config.String("hidden_act"), "\"; the convolutions of this architecture support silu");
  ForEachLayer(decoder, [&](LayerConfig& layer) {
    layer.mamba = mamba;
    layer.attention_in_scale = attention_in, layer.attention_out_scale = attention_out;
    layer.attention.key_scale = key_scale;
    layer.attention.qkv_bias = layer.attention.out_bias = attention_bias;
    layer.mlp.gate_scale = mlp_multipliers[0], layer.mlp.out_scale = mlp_multipliers[1];
    layer.mlp.bias = mlp_bias;
  });
  return decoder;
}

graph::ValueRef DecoderLayer(const graph::Builder& b, const LayerConfig& c, graph::ValueRef x) {
  const graph::ValueRef normed = RmsNorm(b.In("input_layernorm"), x, c.norm);
  const graph::ValueRef scanned = Mamba(b.In("mamba"), normed, *c.mamba);
  const graph::ValueRef attended = SelfAttention(b.In("self_attn"), Scale(b, normed, c.attention_in_scale), c.attention);
  x = Add(b, x, Add(b, scanned, Scale(b, attended, c.attention_out_scale)));
  return Add(b, x, GatedMlp(b.In("feed_forward"), RmsNorm(b.In("pre_ff_layernorm"), x, c.norm), c.mlp));
}

}  // namespace

extern const Architecture kFalconH1{.hf_names = {"FalconH1ForCausalLM"}, .parse_config = ParseConfig, .layer = DecoderLayer};

}  // namespace intaglio::models
