#include "kernels/sample_share.h"

#include <algorithm>
#include <cstring>

#include "kernels/params.h"
#include "kernels/sample_ranks.h"
#include "kernels/workspace.h"

namespace intaglio::kernels {
namespace {

constexpr int64_t kCountBytes = sizeof(int64_t), kResultBytes = sizeof(SegmentResult);

constexpr int64_t RoundUp(int64_t bytes) {
  return (bytes + static_cast<int64_t>(kAlignment) - 1) / static_cast<int64_t>(kAlignment) * static_cast<int64_t>(kAlignment);
}

// Room for one row's boxes of segments [0, end).
int64_t BoxesBytes(int64_t vocab, int end) {
  int64_t bytes = 0;
  for (int s = 0; s < end; ++s) bytes += BoxBytes(vocab, s);
  return bytes;
}

// Bytes of W before its parts.
int64_t CountsOffset(int64_t outputs) { return outputs * kSegments * kResultBytes; }
int64_t BoxesOffset(int64_t outputs) { return CountsOffset(outputs) + outputs * kSegments * kCountBytes; }
int64_t ProcessedOffset(int64_t outputs, int64_t vocab) { return BoxesOffset(outputs) + RoundUp(outputs * BoxesBytes(vocab, kSegments)); }

// A gather of `bytes_of_segment` for each segment, from `data` on.
SampleGather GatherSegments(std::byte* data, int64_t bytes_of_segment, int num_ranks) {
  SampleGather gather{.bytes = {data, static_cast<size_t>(kSegments * bytes_of_segment)}};
  for (int r = 0; r <= num_ranks; ++r) gather.borders[static_cast<size_t>(r)] = FirstSegment(r, num_ranks) * bytes_of_segment;
  return gather;
}

}  // namespace

int64_t SampleRanksWorkspaceBytes(int64_t outputs, int64_t vocab, int64_t cols) {
  return ProcessedOffset(outputs, vocab) + outputs * ProcessedFloats(cols) * static_cast<int64_t>(sizeof(float));
}

int64_t BoxBytes(int64_t vocab, int segment) noexcept {
  const int64_t cols = SegmentBorder(vocab, segment + 1) - SegmentBorder(vocab, segment), vectors = ProcessedFloats(cols) / kLanes;
  return static_cast<int64_t>(sizeof(BoxHeader)) + sample_params::kMaxLogprobs * kTopBytes + vectors * (kUnitBytes + 2 * kVectorBytes);
}

int64_t SampleShare::first_column() const noexcept { return SegmentBorder(vocab, first_segment); }
int64_t SampleShare::cols() const noexcept { return SegmentBorder(vocab, first_segment + num_segments) - first_column(); }
SegmentResult* SampleShare::results(int64_t row) const noexcept { return reinterpret_cast<SegmentResult*>(w) + row; }
int64_t* SampleShare::box_bytes(int segment, int64_t row) const noexcept {
  return reinterpret_cast<int64_t*>(w + CountsOffset(outputs)) + segment * outputs + row;
}
std::byte* SampleShare::boxes() const noexcept { return w + BoxesOffset(outputs); }
std::byte* SampleShare::box(int segment, int64_t row) const noexcept {
  return boxes() + outputs * BoxesBytes(vocab, segment) + row * BoxBytes(vocab, segment);
}
float* SampleShare::processed(int64_t row) const noexcept {
  return reinterpret_cast<float*>(w + ProcessedOffset(outputs, vocab)) + row * ProcessedFloats(cols());
}
int64_t SampleShare::bytes() const noexcept { return SampleRanksWorkspaceBytes(outputs, vocab, cols()); }

int64_t UsedBytes(const SampleShare& share, int segment, int64_t row) noexcept {
  // Whole numbers of 4 bytes, so that nothing in a box lies askew.
  return std::clamp<int64_t>(*share.box_bytes(segment, row), 0, BoxBytes(share.vocab, segment)) & ~int64_t{3};
}

SampleShare ShareOfSample(const KernelCall& call, const Tensor& workspace, const StepView& step) noexcept {
  const auto& ints = call.params.ints;
  return {.w = workspace.data,
          .outputs = std::min<int64_t>(step.num_outputs, ints[sample_params::kOutputs]),
          .vocab = ints[sample_params::kVocab],
          .first_segment = static_cast<int>(ints[sample_params::kFirstSegment]),
          .num_segments = static_cast<int>(ints[sample_params::kNumSegments]),
          .has_logprobs = ints[sample_params::kHasLogprobs] != 0};
}

SampleNeeds NeedsOfStep(const SampleShare& share, const StepView& step) noexcept {
  SampleNeeds needs;
  for (int64_t row = 0; row < share.outputs; ++row) {
    const SamplingRow& r = step.sampling[row];
    const bool is_drawn = r.temperature > 0.0f, has_top_k = r.top_k > 0 && r.top_k < share.vocab, has_top_p = r.top_p < 1.0f;
    const bool wants_logprobs = share.has_logprobs && r.num_logprobs > 0;
    needs.sums |= wants_logprobs || (is_drawn && !has_top_k);
    needs.candidates |= wants_logprobs || (is_drawn && (has_top_k || has_top_p));
  }
  return needs;
}

SampleTask FindSampleTask(const SampleShare& share, int64_t task) noexcept {
  return {.row = task / share.num_segments, .segment = share.first_segment + static_cast<int>(task % share.num_segments)};
}

int FirstSegment(int rank, int num_ranks) noexcept { return kSegments * rank / num_ranks; }

SampleGather GatherOfResults(const KernelCall& call, const StepView& step, int num_ranks) noexcept {
  const SampleShare share = ShareOfSample(call, call[0], step);
  if (share.outputs < 1) return {};
  if (call.params.ints[sample_params::kRound] == 1 && !NeedsOfStep(share, step).sums) return {};
  return GatherSegments(share.w, share.outputs * kResultBytes, num_ranks);
}

SampleGather GatherOfCandidateBytes(const KernelCall& call, const StepView& step, int num_ranks) noexcept {
  const SampleShare share = ShareOfSample(call, call[0], step);
  if (share.outputs < 1 || !NeedsOfStep(share, step).candidates) return {};
  return GatherSegments(reinterpret_cast<std::byte*>(share.box_bytes(0, 0)), share.outputs * kCountBytes, num_ranks);
}

SampleGather PackCandidates(const KernelCall& call, const StepView& step, int num_ranks) noexcept {
  const SampleShare share = ShareOfSample(call, call[0], step);
  if (share.outputs < 1 || !NeedsOfStep(share, step).candidates) return {};
  SampleGather gather;
  int64_t begin = 0;
  for (int s = 0, rank = 0; s < kSegments; ++s) {
    for (; FirstSegment(rank, num_ranks) == s; ++rank) gather.borders[static_cast<size_t>(rank)] = begin;
    const bool is_own = s >= share.first_segment && s < share.first_segment + share.num_segments;
    for (int64_t row = 0; row < share.outputs; ++row) {
      const int64_t used = UsedBytes(share, s, row);
      // Boxes only move down, by what is not used of those before them: none is overwritten before it has moved.
      if (is_own) std::memmove(share.boxes() + begin, share.box(s, row), static_cast<size_t>(used));
      begin += used;
    }
  }
  gather.borders[static_cast<size_t>(num_ranks)] = begin;
  gather.bytes = {share.boxes(), static_cast<size_t>(begin)};
  return gather;
}

}  // namespace intaglio::kernels
