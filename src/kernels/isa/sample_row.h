// One output row of the sample kernels: its logits, what its SamplingRow asks for, and its part of W. Columns are those of the whole
// vocabulary; of a row whose vocabulary is split, a rank has the values of its own columns alone.
#pragma once
#include <limits>

#include "kernels/isa/math.h"
#include "kernels/vocabulary.h"

namespace intaglio::kernels::INTAGLIO_ISA {

struct SampleRow {
  const float* raw = nullptr;            // [cols], from column `first` on
  float* processed = nullptr;            // [ProcessedFloats(cols)], after penalties and temperature; no NaN, no +infinity
  SegmentResult* results = nullptr;      // of segment 0; the others' follow
  int64_t result_stride = 1;             // from one segment's result to the next
  bool wants_logprobs = false;
  int64_t vocab = 0, first = 0, cols = 0;
  const SamplingRow* request = nullptr;

  [[nodiscard]] bool is_greedy() const { return !(request->temperature > 0.0f); }
  [[nodiscard]] bool is_penalised() const {
    return request->history_size > 0 &&
           (request->repetition_penalty != 1.0f || request->presence_penalty != 0.0f || request->frequency_penalty != 0.0f);
  }
  [[nodiscard]] bool has_top_k() const { return request->top_k > 0 && request->top_k < vocab; }
  [[nodiscard]] bool has_top_p() const { return request->top_p < 1.0f; }
  // Whether a threshold among all columns decides what is drawn from.
  [[nodiscard]] bool is_filtered() const { return !is_greedy() && (has_top_k() || has_top_p()); }
  // What is compared and drawn from: these, or the raw logits.
  [[nodiscard]] bool is_processed() const { return !is_greedy() || is_penalised(); }
  [[nodiscard]] SegmentResult& result(int segment) const { return results[segment * result_stride]; }
  // Zero for a column that is not the rank's own.
  [[nodiscard]] float RawOf(int64_t column) const { return column >= first && column < first + cols ? raw[column - first] : 0.0f; }
};

// The row of a sample call, whose vocabulary is whole.
[[nodiscard]] SampleRow RowOf(const KernelCall& call, const StepView& step, int64_t output) noexcept;
// The two things a segment does before its row can be sampled: 0 processes the logits and finds maxima, 1 sums and draws.
void SampleSegment(const SampleRow& row, int stage, int segment, std::byte* scratch) noexcept;

// What was chosen, and its raw logit.
struct Choice {
  int32_t id = 0;
  float raw = 0.0f;
};
// The choice of a row that is not filtered. REQUIRES: both stages of all segments
[[nodiscard]] Choice ChooseFromResults(const SampleRow& row) noexcept;

// 16 raw logits from column i; minus infinity past the vocabulary.
INTAGLIO_INLINE F32 LoadRaw(const SampleRow& row, int64_t i) {
  const float* values = row.raw + (i - row.first);
  const int64_t end = row.first + row.cols;
  if (i + kLanes <= end) return Load(values);
  const int n = LanesLeft(i, end);
  return SelectLess(LaneIndex(), Set(static_cast<float>(n)), LoadFirst(values, n), Set(-std::numeric_limits<float>::infinity()));
}
// 16 processed ones, likewise.
INTAGLIO_INLINE F32 LoadProcessed(const SampleRow& row, int64_t i) { return Load(row.processed + (i - row.first)); }

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
  F32 maximum = Load(row.result(0).*member);
  for (int s = 1; s < kSegments; ++s) maximum = Max(maximum, Load(row.result(s).*member));
  return MaxLanes(maximum);
}

// The n-th greatest of all segments' lanes: a value that the n-th greatest column is no less than, as lanes are different columns.
// REQUIRES: 1 <= n <= kSegments * kLanes
[[nodiscard]] float NthMaximum(const SampleRow& row, float (SegmentResult::*member)[kLanes], int n);

// The segments' sums by the fixed tree.
inline float SumOf(const SampleRow& row, float SegmentResult::* member) {
  const auto r = [&](int s) { return row.result(s).*member; };
  return ((r(0) + r(1)) + (r(2) + r(3))) + ((r(4) + r(5)) + (r(6) + r(7)));
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
