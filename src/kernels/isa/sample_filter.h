// Which tokens of a row may be drawn, and the draw. Every filter is a threshold: top-k and top-p on the value (ties with the last
// kept token stay), min-p on the weight e^(value - maximum).
#pragma once
#include "kernels/isa/sample_row.h"

namespace intaglio::kernels::INTAGLIO_ISA {

struct Filter {
  float maximum = 0.0f;      // of the row's values
  float least_value = 0.0f;  // a kept token's value is no less
  float least_weight = 0.0f; // nor is its weight
};

// REQUIRES: both stages of all segments are done (the sums only where top-p is asked for without top-k).
[[nodiscard]] Filter FindFilter(const SampleRow& row, std::byte* scratch) noexcept;
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

}  // namespace intaglio::kernels::INTAGLIO_ISA
