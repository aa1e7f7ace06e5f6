// The passes that every graph goes through between a model and the lowering, in order. Each one keeps the graph's meaning to the bit;
// the graph is verified after each.
#pragma once
#include "graph/graph.h"

namespace intaglio::compiler {

struct PassOptions {
  bool keep_probes = false;  // named intermediate values must survive
};

// Reads like a table of contents; see passes/.
void RunPipeline(graph::Graph& graph, const PassOptions& options);

}  // namespace intaglio::compiler
