// Log-probabilities of a row, as users see them: of the raw logits.
#pragma once
#include <span>

#include "kernels/isa/sample_row.h"
#include "kernels/params.h"

namespace intaglio::kernels::INTAGLIO_ISA {

// How many likeliest tokens the row wants. REQUIRES: it wants log-probabilities
[[nodiscard]] int WantedLogprobs(const SampleRow& row) noexcept;
// Places `next` among the `count` greatest so far, greatest first, the earlier first of equals. Returns their number, at most `wanted`.
int PlaceTop(const Best& next, int wanted, int count, Best* top) noexcept;
// Those of the row's greatest raw logits that are in columns [begin, end), greatest first, the lower id first of equals (NaN is never among
// them); at most as many as wanted. Returns how many there are. REQUIRES: stage 0 of all segments; the columns are the rank's own
int TopLogits(const SampleRow& row, int64_t begin, int64_t end, Best* top) noexcept;
// Fills a row of log-probabilities (layout in params.h). `top` are the greatest raw logits.   REQUIRES: both stages of all segments
void WriteLogprobs(const SampleRow& row, float chosen_raw, std::span<const Best> top, float* logprobs) noexcept;

}  // namespace intaglio::kernels::INTAGLIO_ISA
