// Sine and cosine of our own, in double: only add, multiply and FMA, so the same bits at every level. No libm.
#pragma once
#include <cmath>
#include <cstdint>

namespace intaglio::kernels::INTAGLIO_ISA {

struct SineCosine {
  float sine = 0, cosine = 0;
};

// Of an angle in radians, |angle| up to 2^24: each the nearest float but for ties that double cannot tell apart. Taylor polynomials on
// [-pi/4, pi/4] (error below 1e-15) after the angle lost its quarter turns, pi/2 being taken in three parts.
inline SineCosine SineAndCosine(float angle) {
  constexpr double kMagic = 6755399441055744.0;   // 1.5 * 2^52: adding it rounds to an integer
  const double x = static_cast<double>(angle), turns = std::fma(x, 0.63661977236758134308, kMagic) - kMagic;
  double r = std::fma(turns, -1.57079632673412561417e+00, x);   // the first 33 bits of pi/2: exact products
  r = std::fma(turns, -6.07710050630396597660e-11, r);
  r = std::fma(turns, -2.02226624879595063154e-21, r);
  const double square = r * r;
  double s = -7.6471637318198164759e-13;
  s = std::fma(s, square, 1.6059043836821614599e-10);
  s = std::fma(s, square, -2.5052108385441718775e-08);
  s = std::fma(s, square, 2.7557319223985890653e-06);
  s = std::fma(s, square, -1.9841269841269841253e-04);
  s = std::fma(s, square, 8.3333333333333332177e-03);
  s = std::fma(s, square, -1.6666666666666665741e-01);
  s = std::fma(s * square, r, r);
  double c = 4.7794773323873852974e-14;
  c = std::fma(c, square, -1.1470745597729724714e-11);
  c = std::fma(c, square, 2.0876756987868098979e-09);
  c = std::fma(c, square, -2.7557319223985888276e-07);
  c = std::fma(c, square, 2.4801587301587301566e-05);
  c = std::fma(c, square, -1.3888888888888889419e-03);
  c = std::fma(c, square, 4.1666666666666664354e-02);
  c = std::fma(c, square, -0.5);
  c = std::fma(c, square, 1.0);
  const int64_t quarter = static_cast<int64_t>(turns) & 3;
  const double sine = (quarter & 1) == 0 ? s : c, cosine = (quarter & 1) == 0 ? c : s;
  return {.sine = static_cast<float>((quarter & 2) == 0 ? sine : -sine),
          .cosine = static_cast<float>(quarter == 1 || quarter == 2 ? -cosine : cosine)};
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
