// Granite 3 MoE: Granite whose MLP is a mixture of experts, softmax over the top k; experts stacked, gate and up in one tensor. From
// transformers/models/granitemoe/modeling_granitemoe.py
#include "models/config_fields.h"
#include "models/granite_fields.h"
#include "models/moe_fields.h"
#include "models/pre_norm_layer.h"

namespace intaglio::models {

using namespace layers;

namespace {

DecoderConfig ParseConfig(const checkpoint::HfConfig& config) {
  DecoderConfig decoder = ParseGranite(config);
  MoeConfig moe{.route = ParseRoute(config, {.experts_key = "num_local_experts", .num_experts = 8, .top_k = 2}),
                .router = "router.layer",
                .intermediate_size = Size(config, "intermediate_size"),
                .tensors = {.storage = ExpertStorage::kStacked, .gate_up = "input_linear.weight", .down = "output_linear.weight", .scope = {}}};
  moe.route.scoring = graph::RouterScoring::kSoftmaxOfTopK;
  ForEachLayer(decoder, [&](LayerConfig& layer) {
    layer.moe = moe;
    layer.mlp_scope = "block_sparse_moe";
  });
  return decoder;
}

}  // namespace

extern const Architecture kGraniteMoe{.hf_names = {"GraniteMoeForCausalLM"}, .parse_config = ParseConfig, .layer = PreNormLayer};

}  // namespace intaglio::models
