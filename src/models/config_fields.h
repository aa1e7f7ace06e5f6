// The fields of config.json that decoder families share. Every value is checked here; what no family here can do is an Error that names
// the field, what was found and what is supported.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/architecture.h"

namespace intaglio::models {

// What Transformers' configuration class of a family takes for a field that config.json leaves out.
struct FamilyDefaults {
  int64_t head_dim = 0;                    // 0: hidden_size / num_attention_heads
  int64_t kv_heads = 0;                    // 0: num_attention_heads
  bool ties_embeddings = false;
  double norm_eps = 1e-6;
  std::string_view activation_key = "hidden_act", activation = "silu";
  double rope_theta = 10000.0;
  std::string_view rope_layer_type{};      // of rope_parameters, where that is keyed by layer type
  int64_t original_max_position = 0;       // of yarn and longrope; 0: max_position_embeddings
  bool rotates_partly = false;             // the family reads partial_rotary_factor
  std::string_view quantization{};         // the one quant_method that the family's checkpoints may have
  double partial_rotary_factor = 1.0;
};

// A Llama-like decoder: no biases, no q/k norm, full attention, one rotary base. Families then set what differs.
[[nodiscard]] DecoderConfig ParseDecoder(const checkpoint::HfConfig& config, const FamilyDefaults& defaults);

// One family-specific change to every layer.
template <typename Change>
void ForEachLayer(DecoderConfig& decoder, Change change) {
  for (LayerConfig& layer : decoder.layers) change(layer);
}

// A size: positive, and small enough that no product of sizes overflows.
[[nodiscard]] int64_t Size(const checkpoint::HfConfig& config, std::string_view key, std::optional<int64_t> otherwise = std::nullopt);

// The same, or 0.
[[nodiscard]] int64_t Count(const checkpoint::HfConfig& config, std::string_view key, int64_t otherwise);

// A switch such as `attention_bias`.
[[nodiscard]] layers::Bias ParseBias(const checkpoint::HfConfig& config, std::string_view key, bool otherwise = false);

// `num_hidden_layers`.
[[nodiscard]] size_t LayerCount(const checkpoint::HfConfig& config);

// The activation of the MLP, from the field and the default that `defaults` names.
[[nodiscard]] layers::Activation ParseActivation(const checkpoint::HfConfig& config, const FamilyDefaults& defaults);

// A positive number that fits in f32.
[[nodiscard]] float PositiveNumber(const checkpoint::HfConfig& config, std::string_view key, double otherwise);

// How much yarn sharpens attention for a context `scale` times as long (get_mscale of modeling_rope_utils.py).
[[nodiscard]] double YarnSharpening(double scale, double mscale);

// The table for rotary settings read by HfConfig::Rope.
[[nodiscard]] std::shared_ptr<const layers::RopeTable> MakeRopeTable(const checkpoint::HfConfig& config, const checkpoint::RopeConfig& rope,
                                                                     int64_t head_dim, const FamilyDefaults& defaults = {});
[[nodiscard]] const std::vector<std::string>& SupportedRopeTypes();

// `no_rope_layers` (1: the layer rotates), else all but every `no_rope_layer_interval`-th.
[[nodiscard]] std::vector<bool> RotatingLayers(const checkpoint::HfConfig& config, size_t num_layers);
// `layer_types`: true for each layer of type `special`, false for "full_attention"; nullopt if config.json has none.
[[nodiscard]] std::optional<std::vector<bool>> LayersOfType(const checkpoint::HfConfig& config, std::string_view special, size_t num_layers);
// The same for "sliding_attention".
[[nodiscard]] std::optional<std::vector<bool>> SlidingLayers(const checkpoint::HfConfig& config, size_t num_layers);
// Gives the sliding layers their window, from `sliding_window` or the family's default for it.
void SetWindows(const checkpoint::HfConfig& config, const std::vector<bool>& is_sliding, DecoderConfig& decoder,
                std::optional<int64_t> otherwise = std::nullopt);
// The Qwen families: `layer_types`, else the layers from `max_window_layers` on slide if `use_sliding_window`.
void SetQwenWindows(const checkpoint::HfConfig& config, DecoderConfig& decoder);

}  // namespace intaglio::models
