// Mixtral: Mistral whose MLP is a mixture of experts, top k of a softmax, weights normalised. From transformers/models/mixtral/modeling_mixtral.py
#include "models/config_fields.h"
#include "models/moe_fields.h"
#include "models/pre_norm_layer.h"

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
  ForEachLayer(decoder, [&](LayerConfig& layer) {
    layer.moe = moe;
    layer.mlp_scope = "block_sparse_moe";
  });
  return decoder;
}

}  // namespace

extern const Architecture kMixtral{.hf_names = {"MixtralForCausalLM"}, .parse_config = ParseConfig, .layer = PreNormLayer};

}  // namespace intaglio::models
