// One module of a model as a graph of its own: what lies between two probed values, with the first as the graph's input.
#pragma once
#include <string>

#include "graph/graph.h"
#include "intaglio/parity.h"

namespace intaglio::parity {

// The probed values that a module reads and makes.
struct ModuleEnds {
  std::string from, to;
};
// REQUIRES: 0 <= layer < num_layers
[[nodiscard]] ModuleEnds EndsOf(ModuleKind kind, int64_t layer, int64_t num_layers);

// `whole`, cut down to what computes ends.to from ends.from. The value `from` becomes an activation (and stays a probe), the rows of `to` are
// the graph's logits: to the runtime, a module is a model whose vocabulary is its output.
// Throws Error kInvalidArgument where the model has no such values, or `to` depends on more than `from` and the step.
// REQUIRES: `whole` is as Model::Build made it, with as many outputs as rows
[[nodiscard]] graph::Graph CutModule(graph::Graph whole, const ModuleEnds& ends);

}  // namespace intaglio::parity
