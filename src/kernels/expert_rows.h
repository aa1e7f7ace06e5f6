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

}  // namespace intaglio::kernels
