#include "models/config_fields.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"

namespace intaglio::models {

using checkpoint::HfConfig;
using checkpoint::RopeConfig;

namespace {

constexpr int64_t kMaxSize = int64_t{1} << 24;   // the product of three sizes, in bytes, fits in an int64 with room
constexpr int64_t kMaxLayers = 4096, kMaxHeads = 4096, kMaxHeadDim = 4096;

int64_t BoundedSize(const HfConfig& config, std::string_view key, int64_t size, int64_t most) {
  Require(size >= 1 && size <= most, ErrorCode::kDataLoss, config.where(), ": ", key, " is ", size, ", expected 1 to ", most);
  return size;
}

float PositiveFloat(const HfConfig& config, std::string_view key, double value) {
  const auto rounded = static_cast<float>(value);
  Require(std::isfinite(rounded) && rounded > 0, ErrorCode::kDataLoss, config.where(), ": ", key, " is ", value,
          ", expected a positive number that fits in f32");
  return rounded;
}

}  // namespace

layers::Activation ParseActivation(const HfConfig& config, const FamilyDefaults& defaults) {
  const std::string name = config.String(defaults.activation_key, defaults.activation);
  if (name == "silu" || name == "swish") return layers::Activation::kSilu;
  if (name == "gelu_pytorch_tanh") return layers::Activation::kGeluTanh;
  if (name == "gelu") return layers::Activation::kGelu;
  Fail(ErrorCode::kUnsupported, config.where(), ": ", defaults.activation_key, " is \"", name, "\"; supported: silu, gelu_pytorch_tanh, gelu");
}

double YarnSharpening(double scale, double mscale) { return scale <= 1 ? 1.0 : 0.1 * mscale * std::log(scale) + 1.0; }

namespace {

layers::AttentionConfig ParseAttention(const HfConfig& config, const FamilyDefaults& defaults, int64_t hidden_size) {
  layers::AttentionConfig attention;
  attention.heads = BoundedSize(config, "num_attention_heads", config.Int("num_attention_heads"), kMaxHeads);
  attention.kv_heads = BoundedSize(config, "num_key_value_heads",
                                   config.Int("num_key_value_heads", defaults.kv_heads == 0 ? attention.heads : defaults.kv_heads), kMaxHeads);
  Require(attention.heads % attention.kv_heads == 0, ErrorCode::kDataLoss, config.where(), ": num_attention_heads ", attention.heads,
          " is not a multiple of num_key_value_heads ", attention.kv_heads);
  const bool has_head_dim = config.has("head_dim") || defaults.head_dim != 0;
  Require(has_head_dim || hidden_size % attention.heads == 0, ErrorCode::kDataLoss, config.where(), ": hidden_size ", hidden_size,
          " is not a multiple of num_attention_heads ", attention.heads, ", and there is no head_dim");
  attention.head_dim = BoundedSize(config, "head_dim",
                                   config.Int("head_dim", defaults.head_dim != 0 ? defaults.head_dim : hidden_size / attention.heads), kMaxHeadDim);
  Require(attention.head_dim % 2 == 0, ErrorCode::kDataLoss, config.where(), ": head_dim is ", attention.head_dim,
          ", but the rotary embedding needs an even number");
  attention.scale = static_cast<float>(std::pow(static_cast<double>(attention.head_dim), -0.5));
  return attention;
}

// Columns of a head that are rotated.
int64_t RotaryDim(const HfConfig& config, const RopeConfig& rope, int64_t head_dim, const FamilyDefaults& defaults) {
  const double part = rope.partial_rotary_factor;
  Require(part == 1.0 || defaults.rotates_partly, ErrorCode::kUnsupported, config.where(), ": partial_rotary_factor is ", part,
          "; this architecture rotates whole heads (1.0)");
  const auto rotary_dim = static_cast<int64_t>(static_cast<double>(head_dim) * std::min(part, 2.0));
  Require(part <= 1.0 && rotary_dim >= 2 && rotary_dim % 2 == 0, ErrorCode::kDataLoss, config.where(), ": partial_rotary_factor is ", part,
          ", which rotates ", rotary_dim, " of ", head_dim, " columns; expected an even number of at least 2");
  return rotary_dim;
}

void SetLlama3(const HfConfig& config, const RopeConfig& rope, layers::RopeSpec& spec) {
  spec.scaling = layers::RopeScaling::kLlama3;
  spec.factor = PositiveFloat(config, "the rotary scaling's factor", rope.factor);
  spec.low_freq_factor = PositiveFloat(config, "low_freq_factor", rope.low_freq_factor);
  spec.high_freq_factor = PositiveFloat(config, "high_freq_factor", rope.high_freq_factor);
  Require(spec.high_freq_factor > spec.low_freq_factor, ErrorCode::kDataLoss, config.where(), ": high_freq_factor ", rope.high_freq_factor,
          " is not above low_freq_factor ", rope.low_freq_factor);
  spec.original_max_position = BoundedSize(config, "original_max_position_embeddings", rope.original_max_position_embeddings, kMaxSize);
}

std::vector<float> LongRopeFactors(const HfConfig& config, std::string_view key, const std::vector<double>& factors, int64_t rotary_dim) {
  Require(std::ssize(factors) == rotary_dim / 2, ErrorCode::kDataLoss, config.where(), ": ", key, " has ", factors.size(), " entries for ",
          rotary_dim, " rotated columns; expected ", rotary_dim / 2);
  std::vector<float> rounded;
  for (double factor : factors) rounded.push_back(PositiveFloat(config, key, factor));
  return rounded;
}

// yarn and longrope: _compute_yarn_parameters and _compute_longrope_parameters of modeling_rope_utils.py.
void SetLongContext(const HfConfig& config, const RopeConfig& rope, const FamilyDefaults& defaults, layers::RopeSpec& spec) {
  const int64_t max_position = Size(config, "max_position_embeddings");
  int64_t original = rope.original_max_position_embeddings;
  if (original == 0) original = defaults.original_max_position == 0 ? max_position : defaults.original_max_position;
  spec.original_max_position = BoundedSize(config, "original_max_position_embeddings", original, kMaxSize);
  const double factor = rope.factor != 0 ? rope.factor : static_cast<double>(max_position) / static_cast<double>(original);
  if (rope.type == "yarn") {
    spec.scaling = layers::RopeScaling::kYarn;
    spec.factor = PositiveFloat(config, "the rotary scaling's factor", factor);
    spec.beta_fast = rope.beta_fast, spec.beta_slow = rope.beta_slow, spec.truncate = rope.truncate;
    const bool has_mscales = rope.mscale != 0 && rope.mscale_all_dim != 0;
    spec.attention_factor =
        has_mscales ? YarnSharpening(factor, rope.mscale) / YarnSharpening(factor, rope.mscale_all_dim) : YarnSharpening(factor, 1);
  } else {
    spec.scaling = layers::RopeScaling::kLongRope;
    spec.short_factors = LongRopeFactors(config, "short_factor", rope.short_factor, spec.rotary_dim);
    spec.long_factors = LongRopeFactors(config, "long_factor", rope.long_factor, spec.rotary_dim);
    spec.attention_factor = factor <= 1 ? 1.0 : std::sqrt(1 + std::log(factor) / std::log(static_cast<double>(original)));
  }
  if (rope.attention_factor != 0) spec.attention_factor = rope.attention_factor;
  spec.attention_factor = PositiveFloat(config, "attention_factor", spec.attention_factor);
}

}  // namespace

int64_t Size(const HfConfig& config, std::string_view key, std::optional<int64_t> otherwise) {
  return BoundedSize(config, key, otherwise ? config.Int(key, *otherwise) : config.Int(key), kMaxSize);
}

int64_t Count(const HfConfig& config, std::string_view key, int64_t otherwise) {
  const double count = config.Float(key, static_cast<double>(otherwise));
  Require(count >= 0 && count <= static_cast<double>(kMaxSize) && count == std::floor(count), ErrorCode::kDataLoss, config.where(), ": ", key, " is ",
          count, ", expected a whole number from 0 to ", kMaxSize);
  return static_cast<int64_t>(count);
}

layers::Bias ParseBias(const HfConfig& config, std::string_view key, bool otherwise) {
  return config.Bool(key, otherwise) ? layers::Bias::kAdded : layers::Bias::kNone;
}

size_t LayerCount(const HfConfig& config) {
  return static_cast<size_t>(BoundedSize(config, "num_hidden_layers", config.Int("num_hidden_layers"), kMaxLayers));
}

float PositiveNumber(const HfConfig& config, std::string_view key, double otherwise) {
  return PositiveFloat(config, key, config.Float(key, otherwise));
}

const std::vector<std::string>& SupportedRopeTypes() {
  static const std::vector<std::string> types{"default", "linear", "dynamic", "llama3", "yarn", "longrope"};
  return types;
}

std::shared_ptr<const layers::RopeTable> MakeRopeTable(const HfConfig& config, const RopeConfig& rope, int64_t head_dim,
                                                       const FamilyDefaults& defaults) {
  layers::RopeSpec spec{.rotary_dim = RotaryDim(config, rope, head_dim, defaults), .theta = PositiveFloat(config, "rope_theta", rope.theta)};
  if (rope.type == "linear") {
    spec.scaling = layers::RopeScaling::kLinear;
    spec.factor = PositiveFloat(config, "the rotary scaling's factor", rope.factor);
  } else if (rope.type == "dynamic") {
    spec.scaling = layers::RopeScaling::kDynamic;
    spec.factor = PositiveFloat(config, "the rotary scaling's factor", rope.factor);
    spec.original_max_position = Size(config, "max_position_embeddings");
    Require(rope.factor >= 1 && spec.rotary_dim > 2, ErrorCode::kDataLoss, config.where(), ": dynamic rotary scaling by ", rope.factor, " of ",
            spec.rotary_dim, " columns; expected at least 1 of more than 2");
  } else if (rope.type == "llama3") {
    SetLlama3(config, rope, spec);
  } else if (rope.type == "yarn" || rope.type == "longrope") {
    SetLongContext(config, rope, defaults, spec);
  } else {
    Require(rope.type == "default", ErrorCode::kUnsupported, config.where(), ": rope_type is \"", rope.type,
            "\"; supported: ", Join(SupportedRopeTypes()));
  }
  return std::make_shared<const layers::RopeTable>(std::move(spec));
}

DecoderConfig ParseDecoder(const HfConfig& config, const FamilyDefaults& defaults) {
  const std::string quantization = config.quantization();
  Require(quantization.empty() || quantization == defaults.quantization, ErrorCode::kUnsupported, config.where(),
          ": quantization_config.quant_method is \"", quantization,
          "\"; supported here: ", defaults.quantization.empty() ? "plain weights (F32, F16, BF16) only" : defaults.quantization);
  DecoderConfig decoder;
  decoder.model_type = config.String("model_type");
  decoder.vocab_size = Size(config, "vocab_size");
  decoder.hidden_size = Size(config, "hidden_size");
  decoder.max_position = Size(config, "max_position_embeddings");
  decoder.ties_embeddings = config.Bool("tie_word_embeddings", defaults.ties_embeddings);
  decoder.norm = {.eps = PositiveFloat(config, "rms_norm_eps", config.Float("rms_norm_eps", defaults.norm_eps))};
  LayerConfig layer{.attention = ParseAttention(config, defaults, decoder.hidden_size), .mlp = {}, .norm = decoder.norm};
  RopeConfig rope = config.Rope(SupportedRopeTypes(), defaults.rope_layer_type);
  if (!config.has("rope_theta") && !config.has("rope_parameters")) rope.theta = defaults.rope_theta;
  if (!rope.has_partial_rotary_factor) rope.partial_rotary_factor = defaults.partial_rotary_factor;
  layer.attention.rope = MakeRopeTable(config, rope, layer.attention.head_dim, defaults);
  if (rope.type == "dynamic") {   // max_position_embeddings is where it begins to stretch
    const double stretched = static_cast<double>(decoder.max_position) * rope.factor;
    decoder.max_position = static_cast<int64_t>(std::min(stretched, static_cast<double>(kMaxSize)));
  }
  layer.mlp = {.intermediate_size = Size(config, "intermediate_size"), .activation = ParseActivation(config, defaults)};
  decoder.layers.assign(LayerCount(config), layer);
  return decoder;
}

std::vector<bool> RotatingLayers(const HfConfig& config, size_t num_layers) {
  std::vector<bool> rotates;
  const auto interval = static_cast<size_t>(Size(config, "no_rope_layer_interval", 4));
  const std::vector<int32_t> listed = config.Ids("no_rope_layers");   // 1: rotates
  Require(!config.has("no_rope_layers") || listed.size() >= num_layers, ErrorCode::kDataLoss, config.where(), ": no_rope_layers has ", listed.size(),
          " entries for ", num_layers, " layers");
  for (size_t i = 0; i < num_layers; ++i) rotates.push_back(listed.empty() ? (i + 1) % interval != 0 : listed[i] != 0);
  return rotates;
}

std::optional<std::vector<bool>> LayersOfType(const HfConfig& config, std::string_view special, size_t num_layers) {
  if (!config.has("layer_types")) return std::nullopt;
  const std::vector<std::string> types = config.Strings("layer_types");
  Require(types.size() == num_layers, ErrorCode::kDataLoss, config.where(), ": layer_types has ", types.size(), " entries for ", num_layers,
          " layers");
  std::vector<bool> is_special;
  for (const std::string& type : types) {
    Require(type == "full_attention" || type == special, ErrorCode::kUnsupported, config.where(), ": layer_types has \"", type,
            "\"; supported: full_attention, ", special);
    is_special.push_back(type == special);
  }
  return is_special;
}

std::optional<std::vector<bool>> SlidingLayers(const HfConfig& config, size_t num_layers) {
  return LayersOfType(config, "sliding_attention", num_layers);
}

void SetWindows(const HfConfig& config, const std::vector<bool>& is_sliding, DecoderConfig& decoder, std::optional<int64_t> otherwise) {
  for (size_t i = 0; i < decoder.layers.size(); ++i) {
    if (is_sliding[i]) decoder.layers[i].attention.window = Size(config, "sliding_window", otherwise);
  }
}

void SetQwenWindows(const HfConfig& config, DecoderConfig& decoder) {
  const bool is_used = config.Bool("use_sliding_window", false);
  std::optional<std::vector<bool>> is_sliding = SlidingLayers(config, decoder.layers.size());
  if (!is_sliding) {
    // Read as a number because 0, "every layer slides", is allowed here; an absent window means that none slides.
    const double first_sliding = config.Float("max_window_layers", 28);
    is_sliding.emplace();
    for (size_t i = 0; i < decoder.layers.size(); ++i) {
      is_sliding->push_back(is_used && config.has("sliding_window") && static_cast<double>(i) >= first_sliding);
    }
  }
  for (bool slides : *is_sliding) {
    Require(!slides || is_used, ErrorCode::kDataLoss, config.where(), ": layer_types has sliding_attention, but use_sliding_window is not true");
  }
  SetWindows(config, *is_sliding, decoder);
}

}  // namespace intaglio::models
