// How kernels with a recurrent state cut a step: by sequence, since a row needs what the row before it left. Not inline, because the code of
// this folder proper must never be compiled with the flags of a level.
#pragma once
#include <cstdint>

#include "kernels/kernel.h"

namespace intaglio::kernels {

inline constexpr int64_t kConvColumns = 256;   // of a task of causal_conv
inline constexpr int64_t kKeyUnit = 4;         // keys are taken four at a time

// One sequence of a step, and where its slot keeps the state.
struct StateRows {
  int64_t first_row = 0, num_rows = 0;   // none if the state has no room for the slot
  int64_t position = 0;                  // of the first row
  int64_t entries = 0, stride = 0;
  float* slot = nullptr;                 // [entries][stride]
};

// REQUIRES: index < the step's number of sequences, tasks / tasks of a sequence
[[nodiscard]] StateRows FindStateRows(const KernelCall& call, const StepView& step, int64_t index) noexcept;

// Tasks that one sequence is cut into.
[[nodiscard]] int64_t ConvTasksOfSequence(const KernelCall& call) noexcept;
[[nodiscard]] int64_t RecurrenceTasksOfSequence(const KernelCall& call) noexcept;

}  // namespace intaglio::kernels
