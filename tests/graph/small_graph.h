// A graph with every op that models emit, small enough to break by hand: one layer, 4 rows of width 8, 2 outputs, 5 words.
#pragma once
#include <stdexcept>
#include <string>

#include "graph/builder.h"

namespace intaglio::graph {

[[nodiscard]] Graph SmallGraph();
// A builder over an empty graph of the same sizes.
[[nodiscard]] Graph EmptyGraph();

// The sentence of the std::logic_error that `action` throws; empty if it throws none.
template <typename Action>
std::string FaultOf(Action action) {
  try {
    action();
  } catch (const std::logic_error& fault) { return fault.what(); }
  return "";
}

}  // namespace intaglio::graph
