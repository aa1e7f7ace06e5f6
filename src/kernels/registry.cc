#include "kernels/registry.h"

#include "kernels/isa/table.h"

namespace intaglio::kernels {

std::span<const Kernel> AllKernels(Isa isa) noexcept {
  switch (isa) {
    case Isa::kScalar:
      return scalar::Table();
    case Isa::kAvx2:
      return avx2::Table();
    case Isa::kAvx512:
      return avx512::Table();
  }
  return {};
}

const Kernel* FindKernel(std::string_view name, Isa isa) noexcept {
  for (const Kernel& kernel : AllKernels(isa)) {
    if (kernel.name == name) return &kernel;
  }
  return nullptr;
}

}  // namespace intaglio::kernels
