// One table of kernels per instruction-set level.
#pragma once
#include <span>

#include "kernels/kernel.h"

namespace intaglio::kernels {
namespace scalar {
[[nodiscard]] std::span<const Kernel> Table() noexcept;
}
namespace avx2 {
[[nodiscard]] std::span<const Kernel> Table() noexcept;
}
namespace avx512 {
[[nodiscard]] std::span<const Kernel> Table() noexcept;
}
}  // namespace intaglio::kernels
