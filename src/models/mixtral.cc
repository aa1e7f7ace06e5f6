// Mixtral: Mistral whose MLP is a mixture of experts, top k of a softmax, weights normalised. From transformers/models/mixtral/modeling_mixtral.py
#include "models/config_fields.h"
#include "models/moe_fields.h"

namespace intaglio::models {

using namespace layers;

namespace {

DecoderConfig ParseConfig(const checkpoint::HfConfig& config) {
  DecoderConfig decoder = ParseDecoder(config, {.kv_heads = 8, .rope_theta = 1e6});
  if (config.has("sliding_window")) SetWindows(config, std::vector<bool>(decoder.layers.size(), true), decoder);
  MoeConfig moe{.route = ParseRoute(config, {.experts_key = "num_local_experts", .num_experts = 8, .top_k = 2}),
                .intermediate_size = Size(config, "intermediate_size"),
                .tensors = {.gate = "w1", .up = "w3", .down = "w2"}};
  moe.route.normalise = true;
  ForEachLayer(decoder, [&](LayerConfig& layer) { layer.moe = moe; });
  return decoder;
}

graph::ValueRef DecoderLayer(const graph::Builder& b, const LayerConfig& c, graph::ValueRef x) {
  x = Add(b, x, SelfAttention(b.In("self_attn"), RmsNorm(b.In("input_layernorm"), x, c.norm), c.attention));
  const graph::ValueRef normed = b.Probe("mlp_in", RmsNorm(b.In("post_attention_layernorm"), x, c.norm));
  return Add(b, x, b.Probe("mlp_out", MixtureOfExperts(b.In("block_sparse_moe"), normed, *c.moe)));
}

}  // namespace

extern const Architecture kMixtral{.hf_names = {"MixtralForCausalLM"}, .parse_config = ParseConfig, .layer = DecoderLayer};

}  // namespace intaglio::models
