// What several operand checks share.
#pragma once
#include "kernels/kernel.h"

namespace intaglio::kernels {

// Present, f32, not empty, rows that do not overlap, no more bytes than a machine can have.
[[nodiscard]] bool IsMatrix(const Tensor& tensor) noexcept;
// Null when the call's rows follow a known count.
[[nodiscard]] const char* CheckDomain(const KernelCall& call) noexcept;

}  // namespace intaglio::kernels
