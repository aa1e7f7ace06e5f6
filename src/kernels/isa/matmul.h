// The matmul kernels, for those that are a matmul over a share of their operands.
#pragma once
#include "kernels/kernel.h"

namespace intaglio::kernels::INTAGLIO_ISA {

void MatMulF32(const KernelCall& call, const StepView& step, int stage, int64_t task, std::byte* scratch) noexcept;
void MatMulBf16(const KernelCall& call, const StepView& step, int stage, int64_t task, std::byte* scratch) noexcept;

}  // namespace intaglio::kernels::INTAGLIO_ISA
