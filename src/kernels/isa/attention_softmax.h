// Online softmax of one query over one tile. Maxima come first, for all queries of a task, since what follows of one query does not wait for
// those of another.
#pragma once
#include "kernels/isa/attention_tile.h"
#include "kernels/isa/math.h"

namespace intaglio::kernels::INTAGLIO_ISA {

// The running maximum of a query's scores, and the sum of e^(score - maximum).
struct Softmax {
  float maximum = -__builtin_inff(), sum = 0.0f;
};

// What a query has summed so far.
struct Sums {
  Softmax* softmax;
  float* out;   // [padded_dim]
  int64_t padded_dim;
};

// Makes an earlier maximum's sums those of a later one, e^`difference` of them.
INTAGLIO_INLINE void Rescale(float difference, const Sums& sums) {
  const F32 factor = Exp(Set(difference));
  for (int64_t d = 0; d < sums.padded_dim; d += kLanes) Store(sums.out + d, Mul(Load(sums.out + d), factor));
  sums.softmax->sum *= First(factor);
}

// scores = cap * tanh(scores / cap) of the blocks of 16 positions that `range` touches; the others are left alone.
inline void CapScores(float cap, TileRange range, float* scores) {
  for (int i = range.begin / kLanes * kLanes; i < range.end; i += kLanes) { Store(scores + i, Mul(Tanh(Div(Load(scores + i), Set(cap))), Set(cap))); }
}

// The largest score. Those outside `range` become minus infinity.
INTAGLIO_INLINE float MaskAndFindMaximum(TileRange range, float* scores) {
  constexpr int kBlocks = kKvTile / kLanes;
  const F32 minus_infinity = Set(-__builtin_inff());
  F32 s[kBlocks];
  INTAGLIO_UNROLL for (int b = 0; b < kBlocks; ++b) s[b] = Load(scores + b * kLanes);
  if (range.begin > 0 || range.end < kKvTile) {
    INTAGLIO_UNROLL for (int b = 0; b < kBlocks; ++b) {
      s[b] = SelectLess(LaneIndex(), Set(static_cast<float>(range.end - b * kLanes)), s[b], minus_infinity);
      s[b] = SelectLess(LaneIndex(), Set(static_cast<float>(range.begin - b * kLanes)), minus_infinity, s[b]);
      Store(scores + b * kLanes, s[b]);
    }
  }
  return MaxLanes(Max(Max(s[0], s[1]), Max(s[2], s[3])));
}

// Turns a query's scores into weights p = e^(score - maximum), exactly zero where the score is minus infinity and where p is below e^-87, and
// rescales what was summed before.
INTAGLIO_INLINE void Weigh(float tile_maximum, const Sums& sums, float* scores) {
  constexpr int kBlocks = kKvTile / kLanes;
  const float maximum = sums.softmax->maximum, new_maximum = maximum > tile_maximum ? maximum : tile_maximum;
  if (new_maximum == -__builtin_inff()) {   // every score overflowed to minus infinity
    INTAGLIO_UNROLL for (int b = 0; b < kBlocks; ++b) Store(scores + b * kLanes, Zero());
    return;
  }
  F32 weights = Zero();
  INTAGLIO_UNROLL for (int b = 0; b < kBlocks; ++b) {
    const F32 x = Sub(Load(scores + b * kLanes), Set(new_maximum));
    const F32 p = SelectLess(x, Set(-87.0f), Zero(), ExpWithin(Max(x, Set(-87.0f))));
    weights = Add(weights, p);
    Store(scores + b * kLanes, p);
  }
  if (maximum != new_maximum) Rescale(maximum - new_maximum, sums);   // else the factor is exactly 1
  sums.softmax->maximum = new_maximum;
  sums.softmax->sum += SumLanes(weights);
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
