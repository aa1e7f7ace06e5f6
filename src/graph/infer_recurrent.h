// Shapes of the ops of recurrent layers, apart from infer.cc for their number.
#pragma once
#include <vector>

#include "graph/graph.h"

namespace intaglio::graph {

// What the kernels are made for: positions that a convolution reaches, and columns of a head on either side of a state.
inline constexpr int64_t kMaxConvTaps = 16, kMaxStateDim = 4096;

// As InferOutputs, for ScaleColumns, SigmoidGate and the ops that have a state. REQUIRES: the number of operands is right.
[[nodiscard]] std::vector<Value> InferRecurrent(const Graph& graph, const Node& node);

}  // namespace intaglio::graph
