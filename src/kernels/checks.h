// What several operand checks share.
#pragma once
#include "kernels/kernel.h"
#include "kernels/params.h"

namespace intaglio::kernels {

// Present, f32, not empty, rows that do not overlap, no more bytes than a machine can have.
[[nodiscard]] bool IsMatrix(const Tensor& tensor) noexcept;
// Rows that the step has for the call: its domain's live count times the call's row multiple.
[[nodiscard]] int64_t LiveRows(const KernelCall& call, const StepView& step) noexcept;
// Null when the call's rows follow a known count.
[[nodiscard]] const char* CheckDomain(const KernelCall& call) noexcept;
// Null when the call's rows are the step's live rows (or output rows) themselves: for kernels that read the step's arrays.
[[nodiscard]] const char* CheckStepRows(const KernelCall& call, Domain domain) noexcept;

}  // namespace intaglio::kernels
