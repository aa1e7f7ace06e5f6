#include "kernels/state_rows.h"

#include <algorithm>

#include "kernels/params.h"

namespace intaglio::kernels {
namespace {

int64_t LiveRows(const KernelCall& call, const StepView& step) { return std::min<int64_t>(step.num_rows, call[0].rows); }

// The end of the sequence that starts at `row`.
int64_t SequenceEnd(const StepView& step, int64_t row, int64_t num_rows) {
  int64_t end = row + 1;
  while (end < num_rows && step.slots[end] == step.slots[row]) ++end;
  return end;
}

int64_t NumSequences(const KernelCall& call, const StepView& step) {
  const int64_t num_rows = LiveRows(call, step);
  int64_t sequences = 0;
  for (int64_t row = 0; row < num_rows; row = SequenceEnd(step, row, num_rows)) ++sequences;
  return sequences;
}

}  // namespace

StateRows FindStateRows(const KernelCall& call, const StepView& step, int64_t index) noexcept {
  const int64_t num_rows = LiveRows(call, step);
  int64_t row = 0;
  for (; index > 0; --index) row = SequenceEnd(step, row, num_rows);
  const Tensor& state = call[1];
  const int64_t entries = call.params.ints[state_params::kEntries], slot = step.slots[row];
  const bool has_room = slot >= 0 && slot < state.rows / entries;
  return {.first_row = row,
          .num_rows = has_room ? SequenceEnd(step, row, num_rows) - row : 0,
          .position = step.positions[row],
          .entries = entries,
          .stride = state.stride,
          .slot = has_room ? state.f32(slot * entries) : nullptr};
}

int64_t ConvTasksOfSequence(const KernelCall& call) noexcept { return (call[0].cols + kConvColumns - 1) / kConvColumns; }

int64_t RecurrenceTasksOfSequence(const KernelCall& call) noexcept {
  using namespace recurrence_params;
  return call.params.ints[kValueHeads] * ((call.params.ints[kValueDim] + kLanes - 1) / kLanes);
}

int64_t CausalConvTasks(const KernelCall& call, const StepView& step, int) noexcept { return NumSequences(call, step) * ConvTasksOfSequence(call); }

int64_t RecurrenceTasks(const KernelCall& call, const StepView& step, int) noexcept {
  return NumSequences(call, step) * RecurrenceTasksOfSequence(call);
}

}  // namespace intaglio::kernels
