#include "graph/step_inputs.h"

#include "base/fail.h"

namespace intaglio::graph {

void CheckStep(const Graph& graph, const StepInputs& step) {
  const size_t rows = step.tokens.size();
  Require(rows <= static_cast<size_t>(graph.rows) && step.output_rows.size() <= static_cast<size_t>(graph.outputs), ErrorCode::kInvalidArgument,
          "interpreter: ", rows, " rows and ", step.output_rows.size(), " output rows in a graph of ", graph.rows, " and ", graph.outputs);
  Require(step.positions.size() == rows && step.slots.size() == rows, ErrorCode::kInvalidArgument, "interpreter: ", rows, " tokens, ",
          step.positions.size(), " positions, ", step.slots.size(), " slots");
  Require((graph.rope_switch == 0 && !graph.rope_follows_length) || step.rope_rows.size() == rows, ErrorCode::kInvalidArgument, "interpreter: ", rows,
          " tokens, ", step.rope_rows.size(), " rope_rows");
  for (int32_t row : step.rope_rows) {
    Require(row >= 0 && row < graph.rope_switch + graph.max_context + (graph.rope_follows_length ? 1 : 0), ErrorCode::kInvalidArgument,
            "interpreter: rope row ", row, " of a table of ", graph.rope_switch + graph.max_context);
  }
  for (const Value& value : graph.values) {
    Require(value.source != Source::kActivation || step.activation.size() == rows * static_cast<size_t>(value.shape[1]), ErrorCode::kInvalidArgument,
            "interpreter: ", rows, " tokens, an activation of ", step.activation.size(), " elements");
  }
  for (int32_t position : step.positions) {
    Require(position >= 0 && position < graph.max_context, ErrorCode::kInvalidArgument, "interpreter: position ", position, " in a context of ",
            graph.max_context);
  }
  for (int32_t row : step.output_rows) {
    Require(row >= 0 && static_cast<size_t>(row) < rows, ErrorCode::kInvalidArgument, "interpreter: output row ", row, " of ", rows, " rows");
  }
}

}  // namespace intaglio::graph
