// A node's attributes as the numbers of its kernel call.
#pragma once
#include "bundle/plan.h"
#include "graph/graph.h"

namespace intaglio::compiler {

// Writes what kernels/params.h says of the node's kernel, as far as the attributes alone decide it.
void SetParams(const graph::Node& node, bundle::Call& call);

}  // namespace intaglio::compiler
