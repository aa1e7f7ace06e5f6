#include "kernels/isa/norm.h"

#include "kernels/params.h"

namespace intaglio::kernels::INTAGLIO_ISA {

void RmsNorm(const KernelCall& call, const StepView&, int, int64_t row, std::byte*) noexcept {
  const Tensor &out = call[0], &x = call[1], &weight = call[2];
  const int64_t width = call.params.ints[norm_params::kWidth];
  for (int64_t begin = 0; begin < x.cols; begin += width) {
    RmsNormRun(x.f32(row) + begin, weight.f32(), call.params.floats[norm_params::kEps], width, out.f32(row) + begin);
  }
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
