// Name -> kernel at one instruction-set level. Filled from kernels.inc, the one list of kernels.
#pragma once
#include <span>
#include <string_view>

#include "kernels/isa.h"
#include "kernels/kernel.h"

namespace intaglio::kernels {

// Null if there is no kernel of that name.
[[nodiscard]] const Kernel* FindKernel(std::string_view name, Isa isa) noexcept;
// All kernels of a level, in the order of kernels.inc.
[[nodiscard]] std::span<const Kernel> AllKernels(Isa isa) noexcept;

}  // namespace intaglio::kernels
