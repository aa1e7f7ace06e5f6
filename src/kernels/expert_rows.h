// The rows of one expert within a step, and the plain matmul that they are.
#pragma once
#include <cstdint>

#include "kernels/kernel.h"

namespace intaglio::kernels {

// One expert's share of an expert_matmul call as a matmul call over its rows alone, and the step that gives it that many live rows.
struct ExpertShare {
  KernelCall call;
  StepView step;
};
[[nodiscard]] ExpertShare ShareOfExpert(const KernelCall& call, const StepView& step, int64_t expert) noexcept;
[[nodiscard]] int64_t NumExperts(const KernelCall& call) noexcept;

// The expert that `task` of `stage` belongs to, and its number within that expert's share.   REQUIRES: task < ExpertMatMulTasks
struct ExpertTask {
  int64_t expert = 0, task = 0;
};
[[nodiscard]] ExpertTask FindExpertTask(const KernelCall& call, const StepView& step, int stage, int64_t task) noexcept;

// Rows [begin, end).
struct RowRange {
  int64_t begin = 0, end = 0;
  [[nodiscard]] int64_t size() const { return end - begin; }
};
// Of `rows` those that share `share` of `num_shares` has.   REQUIRES: 0 <= share < num_shares
[[nodiscard]] constexpr RowRange ShareOfRows(int64_t rows, int64_t share, int64_t num_shares) {
  return {rows * share / num_shares, rows * (share + 1) / num_shares};
}
// Those that a call of expert_combine makes.
[[nodiscard]] RowRange CombinedRows(const KernelCall& call, const StepView& step) noexcept;

// i32 [rows, k].
[[nodiscard]] bool IsChoices(const Tensor& tensor, int64_t rows, int64_t k) noexcept;
// i32 [1, E + 1]: one for every expert there is, and their end.
[[nodiscard]] bool IsOffsets(const Tensor& tensor) noexcept;

}  // namespace intaglio::kernels
