// The oracle's ops that work on one element, or on a gate and its partner, at a time, in double.
#pragma once
#include <span>
#include <vector>

#include "graph/graph.h"

namespace intaglio::graph {

// Runs Add, Mul, Scale, Softcap, Silu, GeluTanh, GatedSilu, GatedGeluTanh or GatedClamped over live rows; `cols` are the output's columns.
[[nodiscard]] std::vector<float> InterpretElementwise(const Node& node, std::span<const std::span<const float>> operands, size_t cols);

}  // namespace intaglio::graph
