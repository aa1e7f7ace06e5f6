// How sample shares a vocabulary among tasks, and what it keeps in W. The eight segments are those of eight ranks, so that a split
// vocabulary sums in the same order.
#pragma once
#include <cstdint>

#include "kernels/kernel.h"

namespace intaglio::kernels {

inline constexpr int64_t kMaxVocab = 1 << 21;          // a segment's token counts fit a worker's scratch
inline constexpr int64_t kSplitVocab = 16384;          // from this size on, segments are tasks of their own

// What a segment contributes to its row. `maximum` and `raw_maximum` are per lane: 16 different tokens.
struct SegmentResult {
  float maximum[kLanes], raw_maximum[kLanes];
  float best_value = 0.0f, race_value = 0.0f, sum = 0.0f, raw_sum = 0.0f;
  int32_t best_id = 0, race_id = 0;
  float best_raw = 0.0f, race_raw = 0.0f;   // raw logits of those two
  float first_raw = 0.0f;                   // of column 0: segment 0 alone has it
  int32_t padding[7] = {};
};
static_assert(sizeof(SegmentResult) % kAlignment == 0);

// Bytes of W per output row: the processed logits (whole lanes), then the segments' results.
[[nodiscard]] int64_t ProcessedFloats(int64_t vocab) noexcept;
[[nodiscard]] int64_t SampleRowBytes(int64_t vocab) noexcept;
// First column of a segment: units of 16 columns, spread evenly.
[[nodiscard]] int64_t SegmentBorder(int64_t vocab, int segment) noexcept;

}  // namespace intaglio::kernels
