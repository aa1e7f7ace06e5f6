#include "layers/norm.h"

namespace intaglio::layers {

using graph::Builder;
using graph::ValueRef;

ValueRef RmsNorm(const Builder& b, ValueRef x, const NormConfig& config) { return HeadRmsNorm(b, x, x.shape()[1], config); }

ValueRef HeadRmsNorm(const Builder& b, ValueRef x, int64_t head_dim, const NormConfig& config) {
  const ValueRef weight = b.Weight("weight", {head_dim}, graph::Shard::kReplicated, graph::Layout::kVector, config.add);
  return graph::RmsNorm(b, x, weight, {.eps = config.eps, .width = head_dim});
}

ValueRef UnweightedHeadNorm(const Builder& b, ValueRef x, int64_t head_dim, float eps) {
  const ValueRef ones = b.Declare({.name = "ones",
                                   .shape = {head_dim},
                                   .layout = graph::Layout::kVector,
                                   .sources = {},
                                   .constant = std::make_shared<const std::vector<float>>(static_cast<size_t>(head_dim), 1.0f)});
  return graph::RmsNorm(b, x, ones, {.eps = eps, .width = head_dim});
}

ValueRef SharedRmsNorm(const Builder& b, ValueRef x, const NormConfig& config, graph::Shard shard, const graph::Segments& segments) {
  const int64_t width = x.shape()[1];
  const ValueRef weight = b.Weight("weight", {width}, shard, graph::Layout::kVector, config.add);
  return graph::RmsNorm(b, x, weight, {.eps = config.eps, .width = width, .segments = segments});
}

ValueRef LayerNorm(const Builder& b, ValueRef x, float eps) {
  const auto declare = [&](const char* name) { return b.Weight(name, {x.shape()[1]}, graph::Shard::kReplicated, graph::Layout::kVector); };
  const ValueRef weight = declare("weight"), bias = declare("bias");
  return graph::LayerNorm(b, x, {.weight = weight, .bias = bias}, eps);
}

}  // namespace intaglio::layers
