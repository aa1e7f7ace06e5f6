// The oracle's meaning of the ops of recurrent layers, in plain loops.
#pragma once
#include <span>
#include <vector>

#include "graph/interpret_operand.h"
#include "graph/interpreter.h"

namespace intaglio::graph {

struct RecurrentStep {
  const Graph& graph;
  const Node& node;
  const StepInputs& step;
};
// The output of ScaleColumns, SigmoidGate, CausalConv, GatedDeltaRule or SsmScan, live rows only.
// A row's state is what the position before it left in `kv`, in this step or an earlier one; zeros where the sequence begins.
// Throws Error kInvalidArgument for a row whose earlier positions are missing.
[[nodiscard]] std::vector<float> InterpretRecurrent(const RecurrentStep& step, std::span<const Operand> operands, KvState& kv);

}  // namespace intaglio::graph
