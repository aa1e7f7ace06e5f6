// Sigmoid and what is made of it, over 16 lanes.
#pragma once
#include "kernels/isa/math.h"

namespace intaglio::kernels::INTAGLIO_ISA {

// x / (1 + e^-z): where e^-z would leave the range of Exp the answer is zero, not x / e^88.
INTAGLIO_INLINE F32 TimesSigmoid(F32 x, F32 z) {
  const F32 y = Div(x, Add(Set(1.0f), Exp(Sub(Zero(), z))));
  return SelectLess(z, Set(-87.0f), Set(-0.0f), y);
}

INTAGLIO_INLINE F32 SiluLanes(F32 x) { return TimesSigmoid(x, x); }

}  // namespace intaglio::kernels::INTAGLIO_ISA
