#include "kernels/registry.h"

#include <vector>

#include "kernels/isa/table.h"

namespace intaglio::kernels {

#define INTAGLIO_DOT_LEVEL(isa)                                                                                 \
  namespace isa {                                                                                               \
  void MatMulQ(const KernelCall&, const StepView&, int stage, int64_t task, std::byte* scratch) noexcept;       \
  void ExpertMatMulQ(const KernelCall&, const StepView&, int stage, int64_t task, std::byte* scratch) noexcept; \
  void HeadMatMulQ(const KernelCall&, const StepView&, int stage, int64_t task, std::byte* scratch) noexcept;   \
  }
INTAGLIO_DOT_LEVEL(avxvnni)
INTAGLIO_DOT_LEVEL(avx512vnni)
#undef INTAGLIO_DOT_LEVEL

namespace {

struct DotKernels {
  Kernel::Run matmul, expert_matmul, head_matmul;
};

// The kernels of a level with those in place of its own that have an instruction for integer dot products.
std::vector<Kernel> WithDot(std::span<const Kernel> level, const DotKernels& dot) {
  std::vector<Kernel> kernels(level.begin(), level.end());
  for (Kernel& kernel : kernels) {
    if (kernel.name == "matmul_q") kernel.run = dot.matmul;
    if (kernel.name == "expert_matmul_q") kernel.run = dot.expert_matmul;
    if (kernel.name == "head_matmul_q") kernel.run = dot.head_matmul;
  }
  return kernels;
}

}  // namespace

std::span<const Kernel> AllKernels(Isa isa) noexcept {
  static const std::vector<Kernel> kAvxVnni = WithDot(avx2::Table(), {avxvnni::MatMulQ, avxvnni::ExpertMatMulQ, avxvnni::HeadMatMulQ});
  static const std::vector<Kernel> kAvx512Vnni = WithDot(avx512::Table(), {avx512vnni::MatMulQ, avx512vnni::ExpertMatMulQ, avx512vnni::HeadMatMulQ});
  switch (isa) {
    case Isa::kScalar:
      return scalar::Table();
    case Isa::kAvx2:
      return avx2::Table();
    case Isa::kAvx512:
      return avx512::Table();
    case Isa::kAvxVnni:
      return kAvxVnni;
    case Isa::kAvx512Vnni:
      return kAvx512Vnni;
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
