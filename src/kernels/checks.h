// What several operand checks share.
#pragma once
#include "kernels/kernel.h"
#include "kernels/params.h"

namespace intaglio::kernels {

inline constexpr int64_t kMaxSide = int64_t{1} << 30;   // of a packed matrix: keeps products of two sides within 64 bits

// Present, f32, not empty, rows that do not overlap, no more bytes than a machine can have.
[[nodiscard]] bool IsMatrix(const Tensor& tensor) noexcept;
// A matrix of one row with `cols` columns.
[[nodiscard]] bool IsRow(const Tensor& tensor, int64_t cols) noexcept;
// kSegments + 1 ascending borders from 0 to `width`.
[[nodiscard]] bool IsSegmentation(const int64_t* borders, int64_t width) noexcept;
// Null when the first input is a matrix shaped as the output.
[[nodiscard]] const char* CheckAlike(const KernelCall& call) noexcept;
// Rows that the step has for the call: its domain's live count times the call's row multiple.
[[nodiscard]] int64_t LiveRows(const KernelCall& call, const StepView& step) noexcept;
// Null when the call's rows follow a known count.
[[nodiscard]] const char* CheckDomain(const KernelCall& call) noexcept;
// Null when the call's rows are the step's live rows (or output rows) themselves: for kernels that read the step's arrays.
[[nodiscard]] const char* CheckStepRows(const KernelCall& call, Domain domain) noexcept;

}  // namespace intaglio::kernels
