// What lies where in the workspace of sample_local, sample_draw, sample_pick and sample_decide: everything in the order [segment][live row],
// so that what a rank has of all rows lies together. Live rows alone have a place.
//
//   SegmentResult  results         [8][outputs]
//   int64_t        box_bytes       [8][outputs]      how full each box is
//   boxes                          [8][outputs]      BoxBytes(segment) each; packed once they are gathered
//   float          processed       [outputs][own columns, whole lanes]
#pragma once
#include <cstdint>

#include "kernels/kernel.h"
#include "kernels/vocabulary.h"

namespace intaglio::kernels {

// What a rank's share of a row brings to a box: first this, then the likeliest tokens, then vectors.
struct BoxHeader {
  int32_t num_tops = 0, num_vectors = 0;
};
inline constexpr int64_t kTopBytes = 8;                                   // a raw logit and its id
inline constexpr int64_t kVectorBytes = kLanes * sizeof(float);
inline constexpr int64_t kUnitBytes = sizeof(int32_t);                    // in front of a vector: its first column / 16

struct SampleShare {
  std::byte* w = nullptr;
  int64_t outputs = 0, vocab = 0;   // live rows; columns of all ranks
  int first_segment = 0, num_segments = 0;
  bool has_logprobs = false;

  [[nodiscard]] int64_t first_column() const noexcept;
  [[nodiscard]] int64_t cols() const noexcept;   // of the rank's own segments
  [[nodiscard]] SegmentResult* results(int64_t row) const noexcept;   // of segment 0; the next one's is `outputs` further
  [[nodiscard]] int64_t* box_bytes(int segment, int64_t row) const noexcept;
  [[nodiscard]] std::byte* box(int segment, int64_t row) const noexcept;
  [[nodiscard]] std::byte* boxes() const noexcept;
  [[nodiscard]] float* processed(int64_t row) const noexcept;
  [[nodiscard]] int64_t bytes() const noexcept;
};
// Bytes that a box has room for: the most that a row can bring, all its vectors with their raw logits.
[[nodiscard]] int64_t BoxBytes(int64_t vocab, int segment) noexcept;
// How full a box is, within its room, whatever W or another rank says.
[[nodiscard]] int64_t UsedBytes(const SampleShare& share, int segment, int64_t row) noexcept;

[[nodiscard]] SampleShare ShareOfSample(const KernelCall& call, const Tensor& workspace, const StepView& step) noexcept;

// What rows of the step need that stage 0 does not give. The same on all ranks.
struct SampleNeeds {
  bool sums = false, candidates = false;
};
[[nodiscard]] SampleNeeds NeedsOfStep(const SampleShare& share, const StepView& step) noexcept;

// The row and the segment that a task works on.
struct SampleTask {
  int64_t row = 0;
  int segment = 0;
};
[[nodiscard]] SampleTask FindSampleTask(const SampleShare& share, int64_t task) noexcept;

}  // namespace intaglio::kernels
