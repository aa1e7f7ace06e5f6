// One head's part of a head_matmul call as the plain matmul that it is.
#pragma once
#include "kernels/kernel.h"

namespace intaglio::kernels {

[[nodiscard]] KernelCall ShareOfHead(const KernelCall& call, int64_t head) noexcept;
// Tasks of one head in a stage: as many for every head.
[[nodiscard]] int64_t TasksOfHead(const KernelCall& call, const StepView& step, int stage) noexcept;

}  // namespace intaglio::kernels
