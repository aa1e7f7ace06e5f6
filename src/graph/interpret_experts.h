// The oracle's mixture-of-experts ops (routing, grouping by expert, the experts' matmuls and their sum) and those that work head by head, in
// plain loops and double sums.
#pragma once
#include <span>
#include <vector>

#include "graph/interpret_operand.h"
#include "graph/interpreter.h"

namespace intaglio::graph {

// Runs Route, ExpertGroup, ExpertGather, ExpertMatMul, ExpertCombine, HeadMatMul or HeadConcat over live rows; one buffer an output.
[[nodiscard]] std::vector<Buffer> InterpretExperts(const Node& node, std::span<const Operand> operands);

}  // namespace intaglio::graph
