// Phi-3, Phi-3.5, Phi-4 and Phi-4-mini: Llama whose checkpoint stacks q, k and v in one tensor and gate and up in another; part of each head
// may be rotated, by longrope for long contexts, and every layer slides if there is a window. From transformers/models/phi3/modeling_phi3.py
#include "models/config_fields.h"
#include "models/pre_norm_layer.h"

namespace intaglio::models {
namespace {

DecoderConfig ParseConfig(const checkpoint::HfConfig& config) {
  DecoderConfig decoder = ParseDecoder(config, {.norm_eps = 1e-5, .original_max_position = 4096, .rotates_partly = true});
  ForEachLayer(decoder, [](LayerConfig& layer) {
    layer.attention.qkv = layers::Storage::kStacked;
    layer.mlp.gate_up = layers::Storage::kStacked;
  });
  if (config.has("sliding_window")) SetWindows(config, std::vector<bool>(decoder.layers.size(), true), decoder);
  return decoder;
}

}  // namespace

extern const Architecture kPhi3{.hf_names = {"Phi3ForCausalLM"}, .parse_config = ParseConfig, .layer = PreNormLayer};

}  // namespace intaglio::models
