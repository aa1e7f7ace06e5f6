// The oracle's ops of models that embed: layer norm, unit length, position tables and pooling, in plain loops and double sums.
#pragma once
#include <span>
#include <vector>

#include "graph/graph.h"
#include "graph/interpret_operand.h"

namespace intaglio::graph {

// Runs LayerNorm, UnitNorm, AddPosition or Pool over live rows.
[[nodiscard]] std::vector<float> InterpretEmbedder(const Node& node, std::span<const Operand> operands);

}  // namespace intaglio::graph
