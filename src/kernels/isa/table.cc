// The kernels of one instruction-set level, in the order of kernels.inc.
#include "kernels/isa/table.h"

#include <array>

namespace intaglio::kernels {

#define INTAGLIO_KERNEL(name, stages, tasks, run, check)                 \
  int64_t tasks(const KernelCall&, const StepView&, int stage) noexcept; \
  const char* check(const KernelCall&) noexcept;
#include "kernels/kernels.inc"
#undef INTAGLIO_KERNEL

namespace INTAGLIO_ISA {

#define INTAGLIO_KERNEL(name, stages, tasks, run, check) \
  void run(const KernelCall&, const StepView&, int stage, int64_t task, std::byte* scratch) noexcept;
#include "kernels/kernels.inc"
#undef INTAGLIO_KERNEL

std::span<const Kernel> Table() noexcept {
  static constexpr auto kTable = std::to_array<Kernel>({
#define INTAGLIO_KERNEL(name, stages, tasks, run, check) Kernel{name, stages, kernels::tasks, INTAGLIO_ISA::run, kernels::check},
#include "kernels/kernels.inc"
#undef INTAGLIO_KERNEL
  });
  return kTable;
}

}  // namespace INTAGLIO_ISA
}  // namespace intaglio::kernels
