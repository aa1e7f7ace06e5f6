// A weight's elements out of the checkpoint's tensors, for the oracle: all views of graph.h, in plain loops.
#pragma once
#include <vector>

#include "graph/interpreter.h"

namespace intaglio::graph {

// Throws Error kDataLoss where a tensor has another size than declared.
[[nodiscard]] std::vector<float> LoadWeight(const Weight& weight, const Interpreter::ReadTensor& read);

}  // namespace intaglio::graph
