// How a matmul is cut into tasks; the same at every level, and never a matter of bits.
#pragma once
#include <algorithm>
#include <cstdint>

#include "kernels/kernel.h"
#include "kernels/params.h"

namespace intaglio::kernels {

inline constexpr int64_t kPackRows = 24;        // rows that one stage-0 task packs: a multiple of every tile height
inline constexpr int64_t kChunkRows = 96;       // rows of a stage-1 task: their packed activations stay in L2
inline constexpr int64_t kTaskBlocks = 4;       // blocks of 16 columns of a stage-1 task: as many parallel streams for one row

// Rows of the step that this call works on.
[[nodiscard]] inline int64_t LiveRows(const KernelCall& call, const StepView& step) {
  const bool follows_outputs = call.params.ints[kDomain] == static_cast<int64_t>(Domain::kOutputs);
  return std::min<int64_t>(follows_outputs ? step.num_outputs : step.num_rows, call[0].rows);
}
[[nodiscard]] constexpr int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace intaglio::kernels
