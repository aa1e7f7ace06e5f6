// RMS norm of one run of columns, shared by rms_norm and norm_rope; and of one that ranks share, in segments.
#pragma once
#include <cmath>

#include "kernels/isa/simd.h"

namespace intaglio::kernels::INTAGLIO_ISA {

// 16 partial sums, then the fixed fold.
INTAGLIO_INLINE float SumOfSquares(const float* x, int64_t width) {
  F32 squares = Zero();
  int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes) squares = Fma(Load(x + i), Load(x + i), squares);
  if (i < width) {
    const F32 tail = LoadFirst(x + i, LanesLeft(i, width));
    squares = Fma(tail, tail, squares);
  }
  return SumLanes(squares);
}

INTAGLIO_INLINE float InverseRms(float sum_of_squares, int64_t width, float eps) {
  const float mean = sum_of_squares / static_cast<float>(width);
  return 1.0f / std::sqrt(mean + eps);
}

// out[i] = x[i] * inverse_rms * weight[i]. `out` may alias `x`.
INTAGLIO_INLINE void Normalise(const float* x, const float* weight, float inverse_rms, int64_t width, float* out) {
  const F32 inverse = Set(inverse_rms);
  int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes) Store(out + i, Mul(Mul(Load(x + i), inverse), Load(weight + i)));
  if (i < width) {
    const int n = LanesLeft(i, width);
    StoreFirst(out + i, Mul(Mul(LoadFirst(x + i, n), inverse), LoadFirst(weight + i, n)), n);
  }
}

INTAGLIO_INLINE void RmsNormRun(const float* x, const float* weight, float eps, int64_t width, float* out) {
  Normalise(x, weight, InverseRms(SumOfSquares(x, width), width, eps), width, out);
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
