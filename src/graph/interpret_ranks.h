// The oracle's ops of ranks that share a model, in plain loops and double sums; what ranks tell each other is the caller's business.
#pragma once
#include <span>
#include <vector>

#include "graph/graph.h"
#include "graph/interpret_operand.h"
#include "graph/interpreter.h"

namespace intaglio::graph {

struct RanksStep {
  const Graph& graph;
  const Node& node;
  size_t live_rows = 0;   // of the step
  const RankExchange& exchange;
};
// Runs AllReduce, AllGather, ExpertExchange, RowGather, AddBias, Zeros, SquareSum, NormBy, ExpertIsolate or ExpertBias over live rows.
[[nodiscard]] std::vector<float> InterpretRanks(const RanksStep& step, std::span<const Operand> operands);

}  // namespace intaglio::graph
