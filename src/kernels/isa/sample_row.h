// One output row of the sample kernel: its logits, what its SamplingRow asks for, and its part of W.
#pragma once
#include <limits>

#include "kernels/isa/math.h"
#include "kernels/vocabulary.h"

namespace intaglio::kernels::INTAGLIO_ISA {

struct SampleRow {
  const float* raw = nullptr;            // [vocab]
  float* processed = nullptr;            // [ProcessedFloats(vocab)], after penalties and temperature; no NaN, no +infinity
  SegmentResult* results = nullptr;      // [kSegments]
  float* logprobs = nullptr;             // null when none are wanted
  int64_t vocab = 0;
  const SamplingRow* request = nullptr;

  [[nodiscard]] bool is_greedy() const { return !(request->temperature > 0.0f); }
  [[nodiscard]] bool is_penalised() const {
    return request->history_size > 0 &&
           (request->repetition_penalty != 1.0f || request->presence_penalty != 0.0f || request->frequency_penalty != 0.0f);
  }
  [[nodiscard]] bool has_top_k() const { return request->top_k > 0 && request->top_k < vocab; }
  [[nodiscard]] bool has_top_p() const { return request->top_p < 1.0f; }
  // What is compared and drawn from.
  [[nodiscard]] const float* values() const { return is_greedy() && !is_penalised() ? raw : processed; }
};

[[nodiscard]] SampleRow RowOf(const KernelCall& call, const StepView& step, int64_t output) noexcept;
// The two things a segment does before its row can be sampled: 0 processes the logits and finds maxima, 1 sums and draws.
void SampleSegment(const SampleRow& row, int stage, int segment, std::byte* scratch) noexcept;

// 16 values from column i; minus infinity past the vocabulary.
INTAGLIO_INLINE F32 LoadValues(const float* values, int64_t i, int64_t vocab) {
  if (i + kLanes <= vocab) return Load(values + i);
  const int n = LanesLeft(i, vocab);
  return SelectLess(LaneIndex(), Set(static_cast<float>(n)), LoadFirst(values + i, n), Set(-std::numeric_limits<float>::infinity()));
}

// The greatest value seen in each lane and its column; the first of equals, 0 while nothing was greater than minus infinity.
struct LaneBest {
  F32 value = Set(-std::numeric_limits<float>::infinity()), id = Zero();
  INTAGLIO_INLINE void See(F32 x, int64_t column) {
    id = SelectLess(value, x, Add(LaneIndex(), Set(static_cast<float>(column))), id);
    value = SelectLess(value, x, x, value);
  }
};

// The greatest lane, the lowest column of equals.
struct Best {
  float value;
  int32_t id;
};
inline Best Reduce(const LaneBest& lanes) {
  float value[kLanes], id[kLanes];
  Store(value, lanes.value);
  Store(id, lanes.id);
  int best = 0;
  for (int i = 1; i < kLanes; ++i) {
    if (value[i] > value[best] || (value[i] == value[best] && id[i] < id[best])) best = i;
  }
  return {value[best], static_cast<int32_t>(id[best])};
}

// The greatest of the lanes that every segment left in `member`.
inline float MaximumOf(const SampleRow& row, float (SegmentResult::*member)[kLanes]) {
  F32 maximum = Load(row.results[0].*member);
  for (int s = 1; s < kSegments; ++s) maximum = Max(maximum, Load(row.results[s].*member));
  return MaxLanes(maximum);
}

// The segments' sums by the fixed tree.
inline float SumOf(const SampleRow& row, float SegmentResult::* member) {
  const SegmentResult* r = row.results;
  return ((r[0].*member + r[1].*member) + (r[2].*member + r[3].*member)) + ((r[4].*member + r[5].*member) + (r[6].*member + r[7].*member));
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
