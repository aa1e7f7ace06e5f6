// The oracle's ops that work on one element, or on a gate and its partner, at a time, in double.
#pragma once
#include <span>
#include <vector>

#include "graph/graph.h"
#include "graph/interpret_operand.h"

namespace intaglio::graph {

// Runs Add, Mul, Scale, Softcap, Silu, GeluTanh, Gelu, Tanh, GatedSilu, GatedGeluTanh or GatedClamped over live rows.
[[nodiscard]] std::vector<float> InterpretElementwise(const Node& node, std::span<const Operand> operands);

}  // namespace intaglio::graph
