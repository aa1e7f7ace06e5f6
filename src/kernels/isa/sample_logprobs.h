// Log-probabilities of a row, as users see them: of the raw logits.
#pragma once
#include "kernels/isa/sample_row.h"

namespace intaglio::kernels::INTAGLIO_ISA {

// Fills the row's log-probabilities (layout in params.h). REQUIRES: both stages of all segments; row.logprobs.
void WriteLogprobs(const SampleRow& row, int32_t chosen) noexcept;

}  // namespace intaglio::kernels::INTAGLIO_ISA
