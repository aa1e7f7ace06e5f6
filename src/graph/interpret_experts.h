// The oracle's mixture-of-experts ops (routing, grouping by expert, the experts' matmuls and their sum) and those that work head by head, in
// plain loops and double sums.
#pragma once
#include <span>
#include <vector>

#include "graph/interpreter.h"

namespace intaglio::graph {

struct ExpertOperand {
  std::span<const float> f32;
  std::span<const int32_t> i32;
  size_t cols = 0;   // last size of its shape
};

// Runs Route, ExpertGroup, ExpertGather, ExpertMatMul, ExpertCombine, HeadMatMul or HeadConcat over live rows; one buffer an output.
[[nodiscard]] std::vector<Buffer> InterpretExperts(const Node& node, std::span<const ExpertOperand> operands);

}  // namespace intaglio::graph
