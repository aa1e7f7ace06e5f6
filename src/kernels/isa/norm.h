// RMS norm of one run of columns, shared by rms_norm and norm_rope.
#pragma once
#include <cmath>

#include "kernels/isa/simd.h"

namespace intaglio::kernels::INTAGLIO_ISA {

// out[i] = x[i] / sqrt(mean(x^2) + eps) * weight[i]. 16 partial sums of squares, then the fixed fold. `out` may alias `x`.
INTAGLIO_INLINE void RmsNormRun(const float* x, const float* weight, float eps, int64_t width, float* out) {
  F32 squares = Zero();
  int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes) squares = Fma(Load(x + i), Load(x + i), squares);
  if (i < width) {
    const F32 tail = LoadFirst(x + i, LanesLeft(i, width));
    squares = Fma(tail, tail, squares);
  }
  const float mean = SumLanes(squares) / static_cast<float>(width);
  const F32 inverse = Set(1.0f / std::sqrt(mean + eps));
  for (i = 0; i + kLanes <= width; i += kLanes) Store(out + i, Mul(Mul(Load(x + i), inverse), Load(weight + i)));
  if (i < width) {
    const int n = LanesLeft(i, width);
    StoreFirst(out + i, Mul(Mul(LoadFirst(x + i, n), inverse), LoadFirst(weight + i, n)), n);
  }
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
