// Whether a step's data fits a graph, for the oracle.
#pragma once
#include "graph/interpreter.h"

namespace intaglio::graph {

// Throws Error kInvalidArgument that names what does not.
void CheckStep(const Graph& graph, const StepInputs& step);

}  // namespace intaglio::graph
