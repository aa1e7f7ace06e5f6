#include "models/embedder.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/fail.h"
#include "layers/linear.h"
#include "models/config_fields.h"

namespace intaglio::models {
namespace {

using checkpoint::HfConfig;
using graph::Builder;
using graph::ValueRef;

constexpr std::array<std::pair<std::string_view, Pooling>, 3> kPoolingFields{
    {{"pooling_mode_cls_token", Pooling::kFirst}, {"pooling_mode_mean_tokens", Pooling::kMean}, {"pooling_mode_lasttoken", Pooling::kLast}}};
constexpr std::array<std::string_view, 3> kOtherPoolingFields{"pooling_mode_max_tokens", "pooling_mode_mean_sqrt_len_tokens",
                                                              "pooling_mode_weightedmean_tokens"};

// "sentence_transformers.models.Pooling" -> "Pooling"; empty for a class of someone else's.
std::string_view KindOf(std::string_view type) {
  return type.starts_with("sentence_transformers.") ? type.substr(type.rfind('.') + 1) : std::string_view();
}

Pooling ParsePooling(const HfConfig& config, int64_t hidden_size) {
  for (std::string_view field : kOtherPoolingFields) {
    Require(!config.Bool(field, false), ErrorCode::kUnsupported, config.where(), ": ", field, " is true; supported: one of pooling_mode_cls_token, ",
            "pooling_mode_mean_tokens, pooling_mode_lasttoken");
  }
  std::vector<Pooling> found;
  for (const auto& [field, pooling] : kPoolingFields) {
    if (config.Bool(field, false)) found.push_back(pooling);
  }
  Require(found.size() == 1, ErrorCode::kUnsupported, config.where(), ": ", found.size(), " pooling modes are true, expected exactly one of ",
          "pooling_mode_cls_token, pooling_mode_mean_tokens, pooling_mode_lasttoken");
  const int64_t width = config.Int("word_embedding_dimension", hidden_size);
  Require(width == hidden_size, ErrorCode::kDataLoss, config.where(), ": word_embedding_dimension is ", width, ", the model's hidden_size ",
          hidden_size);
  return found.front();
}

DenseConfig ParseDense(const EmbedderModule& module, int64_t width) {
  constexpr std::string_view kIdentity = "torch.nn.modules.linear.Identity", kTanh = "torch.nn.modules.activation.Tanh";
  const HfConfig& config = module.config;
  DenseConfig dense{.scope = module.path, .in_features = Size(config, "in_features"), .out_features = Size(config, "out_features")};
  Require(dense.in_features == width, ErrorCode::kDataLoss, config.where(), ": in_features is ", dense.in_features, ", but what comes before gives ",
          width);
  dense.has_bias = config.Bool("bias", true);
  const std::string activation = config.String("activation_function", kTanh);
  Require(activation == kIdentity || activation == kTanh, ErrorCode::kUnsupported, config.where(), ": activation_function is \"", activation,
          "\"; supported: ", kIdentity, ", ", kTanh);
  dense.has_tanh = activation == kTanh;
  return dense;
}

ValueRef Dense(const Builder& b, ValueRef x, const DenseConfig& config) {
  const auto bias = config.has_bias ? layers::Bias::kAdded : layers::Bias::kNone;
  // Every rank has all of it: a row a sequence is not worth a gather.
  const ValueRef y = layers::ColumnParallelLinear(b.In("linear"), x, layers::EveryRow(config.out_features, graph::Shard::kRows), bias);
  return config.has_tanh ? Tanh(b, y) : y;
}

}  // namespace

std::string_view Name(Pooling pooling) {
  constexpr std::array<std::string_view, 3> kNames{"cls", "mean", "lasttoken"};
  return kNames[static_cast<size_t>(pooling)];
}

EmbedderConfig ParseEmbedder(std::span<const EmbedderModule> modules, int64_t hidden_size, const std::string& where) {
  const auto kind = [&](size_t i) { return i < modules.size() ? KindOf(modules[i].type) : std::string_view(); };
  Require(kind(0) == "Transformer" && kind(1) == "Pooling", ErrorCode::kUnsupported, where,
          ": expected modules that begin with sentence_transformers.models.Transformer and sentence_transformers.models.Pooling");
  Require(modules[0].path.empty(), ErrorCode::kUnsupported, where, ": the transformer is in the folder \"", modules[0].path,
          "\"; supported: beside modules.json (an empty path)");
  EmbedderConfig embedder{.pooling = ParsePooling(modules[1].config, hidden_size), .dense = {}};
  for (size_t i = 2; i < modules.size(); ++i) {
    Require(!embedder.is_normalised, ErrorCode::kUnsupported, where, ": module ", i, " (", modules[i].type,
            ") follows Normalize; supported: Normalize last");
    if (kind(i) == "Dense") {
      embedder.dense.push_back(ParseDense(modules[i], embedder.dim(hidden_size)));
    } else {
      Require(kind(i) == "Normalize", ErrorCode::kUnsupported, where, ": module ", i, " is \"", modules[i].type,
              "\"; supported after Pooling: sentence_transformers.models.Dense, then Normalize");
      embedder.is_normalised = true;
    }
  }
  return embedder;
}

ValueRef PoolRows(const Builder& b, ValueRef x, Pooling pooling) {
  if (pooling == Pooling::kLast) return GatherRows(b, x);
  return Pool(b, x, pooling == Pooling::kFirst ? graph::PoolMode::kFirst : graph::PoolMode::kMean);
}

ValueRef FinishEmbedding(const Builder& b, ValueRef pooled, const EmbedderConfig& config) {
  ValueRef x = pooled;
  for (const DenseConfig& dense : config.dense) x = Dense(b.In(dense.scope), x, dense);
  return config.is_normalised ? UnitNorm(b.In("normalize"), x) : x;
}

}  // namespace intaglio::models
