// A graph with every op that models emit, small enough to break by hand: one layer, 4 rows of width 8, 2 outputs, 5 words.
#pragma once
#include "graph/builder.h"

namespace intaglio::graph {

[[nodiscard]] Graph SmallGraph();
// A builder over an empty graph of the same sizes.
[[nodiscard]] Graph EmptyGraph();

}  // namespace intaglio::graph
