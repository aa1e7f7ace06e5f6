// Which tokens of a row may be drawn, and the draw. Every filter is a threshold: top-k and top-p on the value (ties with the last
// kept token stay), min-p on the weight e^(value - maximum).
#pragma once
#include <span>

#include "kernels/isa/sample_row.h"

namespace intaglio::kernels::INTAGLIO_ISA {

struct Filter {
  float maximum = 0.0f;      // of the row's values
  float least_value = 0.0f;  // a kept token's value is no less
  float least_weight = 0.0f; // nor is its weight
};

// Vectors of 16 processed logits of neighbouring columns, ascending: a whole row's, or those that CandidateFloor leaves.
struct Vectors {
  const std::byte* data = nullptr;
  int64_t count = 0, stride = kLanes * sizeof(float);   // bytes from one to the next
};

// A value that every token which a filtered row may draw is no less than. Vectors all below it may be left out: they change nothing.
// REQUIRES: both stages of all segments
[[nodiscard]] float CandidateFloor(const SampleRow& row) noexcept;
// The filter of a row by its vectors. REQUIRES: both stages of all segments are done (the sums only where top-p is asked for without top-k).
[[nodiscard]] Filter FindFilter(const SampleRow& row, std::span<const Vectors> vectors, std::byte* scratch) noexcept;
// The filter of a row without top-k and top-p. REQUIRES: stage 0 of all segments.
[[nodiscard]] Filter OpenFilter(const SampleRow& row) noexcept;

// Weights of the tokens that the filter keeps, zero for the others.
INTAGLIO_INLINE F32 KeptWeights(F32 values, const Filter& filter) {
  const F32 weight = Exp(Sub(values, Set(filter.maximum)));
  const F32 kept = SelectLess(values, Set(filter.least_value), Zero(), weight);
  return SelectLess(kept, Set(filter.least_weight), Zero(), kept);
}

// Draws among the kept tokens of columns [begin, end) by an exponential race: token i arrives at E_i / weight_i, the first wins, which
// happens with probability weight_i / sum. E_i depends on (seed, position, i) alone. Value: weight / E of the winner.
[[nodiscard]] Best Race(const SampleRow& row, const Filter& filter, int64_t begin, int64_t end) noexcept;
// The same among the kept tokens of one vector, that of columns [16 * unit, 16 * unit + 16).
struct SparseRace {
  const SampleRow& row;
  const Filter& filter;
  LaneBest best;
  void See(int64_t unit, const float* values) noexcept;
};

}  // namespace intaglio::kernels::INTAGLIO_ISA
