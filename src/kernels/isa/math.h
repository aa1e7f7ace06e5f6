// exp, log, softplus, tanh and erf of our own over 16 lanes: only add, multiply, FMA, divide, so the same bits at every level. No libm.
// Sources of the polynomials: Cephes expf (degree 5 in r times r^2, plus r, plus 1; error within 2 ulp over the clamped range), logf, tanhf,
// erff and erfcf.
#pragma once
#include "kernels/isa/simd.h"

namespace intaglio::kernels::INTAGLIO_ISA {

// e^x for x within -87 and 88.
INTAGLIO_INLINE F32 ExpWithin(F32 x) {
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

// e^x for x <= 88; below -87 it is e^-87 (about 1.6e-38), never zero or subnormal: callers mask what must be exactly zero.
INTAGLIO_INLINE F32 Exp(F32 x) { return ExpWithin(Min(Max(x, Set(-87.0f)), Set(88.0f))); }

// Natural logarithm. REQUIRES: x is positive and normal. Log(1) is exactly 0.
INTAGLIO_INLINE F32 Log(F32 x) {
  const U32 bits = Bits(x);
  F32 m = FromBits(Or(And(bits, SetU32(0x007fffffu)), SetU32(0x3f000000u)));   // x = m * 2^e, m in [0.5, 1)
  F32 e = Sub(ToF32(ShiftRight<23>(bits)), Set(126.0f));
  const F32 middle = Set(0.707106781f);                                     // m moves to [sqrt(0.5), sqrt(2)), then to m - 1
  e = SelectLess(m, middle, Sub(e, Set(1.0f)), e);
  m = Sub(SelectLess(m, middle, Add(m, m), m), Set(1.0f));
  const F32 square = Mul(m, m);
  F32 p = Set(7.0376836292e-2f);
  p = Fma(p, m, Set(-1.1514610310e-1f));
  p = Fma(p, m, Set(1.1676998740e-1f));
  p = Fma(p, m, Set(-1.2420140846e-1f));
  p = Fma(p, m, Set(1.4249322787e-1f));
  p = Fma(p, m, Set(-1.6668057665e-1f));
  p = Fma(p, m, Set(2.0000714765e-1f));
  p = Fma(p, m, Set(-2.4999993993e-1f));
  p = Fma(p, m, Set(3.3333331174e-1f));
  p = Mul(Mul(p, m), square);
  p = Fma(e, Set(-2.12194440e-4f), p);                                        // ln 2 in two parts, as in Exp
  p = Fma(square, Set(-0.5f), p);
  return Fma(e, Set(0.693359375f), Add(m, p));
}

// log(1 + e^x) = max(x, 0) + log(1 + e^-|x|). The second term is log(u) t / (u - 1) with t = e^-|x| and u = 1 + t as rounded, which
// keeps its relative accuracy where t is small (W. Kahan; HP-15C Advanced Functions Handbook, 1982, appendix).
INTAGLIO_INLINE F32 Softplus(F32 x) {
  const F32 minus_x = Sub(Zero(), x), t = Exp(Sub(Zero(), Max(x, minus_x)));
  const F32 u = Add(Set(1.0f), t), rounded = Sub(u, Set(1.0f));
  const F32 log = SelectLess(Zero(), rounded, Mul(Log(u), Div(t, rounded)), t);
  return Add(Max(x, Zero()), log);
}

// Hyperbolic tangent. Near zero Cephes tanhf's polynomial (within 1 ulp or so), else 1 - 2 / (e^2|x| + 1).
INTAGLIO_INLINE F32 Tanh(F32 x) {
  const F32 minus_x = Sub(Zero(), x), size = Max(x, minus_x), square = Mul(x, x);
  F32 p = Set(-5.70498872745e-3f);
  p = Fma(p, square, Set(2.06390887954e-2f));
  p = Fma(p, square, Set(-5.37397155531e-2f));
  p = Fma(p, square, Set(1.33314422036e-1f));
  p = Fma(p, square, Set(-3.33332819422e-1f));
  const F32 near = Fma(Mul(p, square), x, x);
  const F32 far = Sub(Set(1.0f), Div(Set(2.0f), Add(Exp(Add(size, size)), Set(1.0f))));
  return SelectLess(size, Set(0.625f), near, SelectLess(x, Zero(), Sub(Zero(), far), far));
}

// erfc(x) for 1 <= x <= 9.2, from a polynomial in 1 / x^2: e^-(x^2) / x * P, another P below 2. The rounding of x^2 is made good by its own
// remainder, or it would grow with x^2.
INTAGLIO_INLINE F32 ErfcTail(F32 x) {
  const F32 inverse = Div(Set(1.0f), x), y = Mul(inverse, inverse);
  F32 near = Set(2.326819970068386e-2f);
  near = Fma(near, y, Set(-1.387039388740657e-1f));
  near = Fma(near, y, Set(3.687424674597105e-1f));
  near = Fma(near, y, Set(-5.824733027278666e-1f));
  near = Fma(near, y, Set(6.210004621745983e-1f));
  near = Fma(near, y, Set(-4.944515323274145e-1f));
  near = Fma(near, y, Set(3.404879937665872e-1f));
  near = Fma(near, y, Set(-2.741127028184656e-1f));
  near = Fma(near, y, Set(5.638259427386472e-1f));
  F32 far = Set(-1.047766399936249e+1f);
  far = Fma(far, y, Set(1.297719955372516e+1f));
  far = Fma(far, y, Set(-7.495518717768503f));
  far = Fma(far, y, Set(2.921019019210786f));
  far = Fma(far, y, Set(-1.015265279202700f));
  far = Fma(far, y, Set(4.218463358204948e-1f));
  far = Fma(far, y, Set(-2.820767439740514e-1f));
  far = Fma(far, y, Set(5.641895067754075e-1f));
  const F32 minus_x = Sub(Zero(), x), minus_square = Mul(minus_x, x), remainder = Fma(minus_x, x, Sub(Zero(), minus_square));
  const F32 power = Exp(minus_square);
  return Mul(Mul(Fma(power, remainder, power), inverse), SelectLess(x, Set(2.0f), near, far));
}

// The standard normal distribution function times x, which is gelu: x / 2 * (1 + erf(x / sqrt(2))), without the cancellation that this form
// has for negative x. Measured against double for |x| < 9.8: 2.4e-7 at most, and 1.4e-6 of gelu(x) itself above x = -5.
INTAGLIO_INLINE F32 GeluLanes(F32 x) {
  const F32 y = Mul(x, Set(0.70710678118654752f)), size = Max(y, Sub(Zero(), y)), square = Mul(y, y);
  F32 p = Set(7.853861353153693e-5f);
  p = Fma(p, square, Set(-8.010193625184903e-4f));
  p = Fma(p, square, Set(5.188327685732524e-3f));
  p = Fma(p, square, Set(-2.685381193529856e-2f));
  p = Fma(p, square, Set(1.128358514861418e-1f));
  p = Fma(p, square, Set(-3.761262582423300e-1f));
  p = Fma(p, square, Set(1.128379165726710f));
  const F32 half = Set(0.5f), near = Fma(Mul(half, y), p, half);
  const F32 tail = Mul(half, ErfcTail(Min(Max(size, Set(1.0f)), Set(9.2f))));   // beyond 9.2 less than any float that matters
  const F32 far = SelectLess(y, Zero(), tail, Sub(Set(1.0f), tail));
  return SelectLess(y, Set(-9.2f), Set(-0.0f), Mul(x, SelectLess(size, Set(1.0f), near, far)));
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
