// The oracle's ops of models that embed: gelu, tanh, layer norm, unit length, position tables and pooling, in plain loops and double sums.
#pragma once
#include <span>
#include <vector>

#include "graph/graph.h"

namespace intaglio::graph {

struct EmbedderOperand {
  std::span<const float> f32;
  std::span<const int32_t> i32;
};

// Runs Gelu, Tanh, LayerNorm, UnitNorm, AddPosition or Pool over live rows of `cols` columns.
[[nodiscard]] std::vector<float> InterpretEmbedder(const Node& node, std::span<const EmbedderOperand> operands, size_t cols);

}  // namespace intaglio::graph
