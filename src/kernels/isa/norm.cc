#include "kernels/isa/norm.h"

#include "kernels/leaves.h"
#include "kernels/params.h"

namespace intaglio::kernels::INTAGLIO_ISA {

namespace {

// The sums of squares of so many segments, by the tree.
float SumOfSegments(const float* x, const int64_t* borders, int leaves) {
  float sums[kSegments];
  for (int s = 0; s < leaves; ++s) sums[s] = SumOfSquares(x + borders[s], borders[s + 1] - borders[s]);
  for (int count = leaves; count > 1; count /= 2) {
    for (int s = 0; s < count / 2; ++s) sums[s] = sums[2 * s] + sums[2 * s + 1];
  }
  return sums[0];
}

}  // namespace

void RmsNorm(const KernelCall& call, const StepView&, int, int64_t row, std::byte*) noexcept {
  const Tensor &out = call[0], &x = call[1], &weight = call[2];
  const int64_t width = call.params.ints[norm_params::kWidth];
  const bool is_segmented = call.params.ints[norm_params::kBorders + kSegments] != 0;
  for (int64_t begin = 0; begin < x.cols; begin += width) {
    const float* run = x.f32(row) + begin;
    const float sum = is_segmented ? SumOfSegments(run, &call.params.ints[norm_params::kBorders], kSegments) : SumOfSquares(run, width);
    Normalise(run, weight.f32(), InverseRms(sum, width, call.params.floats[norm_params::kEps]), width, out.f32(row) + begin);
  }
}

void SquareSum(const KernelCall& call, const StepView&, int, int64_t row, std::byte*) noexcept {
  *call[0].f32(row) = SumOfSegments(call[1].f32(row), &call.params.ints[norm_params::kBorders], NumLeaves(call));
}

void NormBy(const KernelCall& call, const StepView&, int, int64_t row, std::byte*) noexcept {
  const float inverse = InverseRms(*call[2].f32(row), call.params.ints[norm_params::kWidth], call.params.floats[norm_params::kEps]);
  Normalise(call[1].f32(row), call[3].f32(), inverse, call[0].cols, call[0].f32(row));
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
