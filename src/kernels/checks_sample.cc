// Task counts and the operand checks of sample, and of its parts where ranks share the vocabulary.
#include <algorithm>

#include "kernels/checks.h"
#include "kernels/params.h"
#include "kernels/sample_ranks.h"
#include "kernels/sample_share.h"
#include "kernels/vocabulary.h"
#include "kernels/workspace.h"

namespace intaglio::kernels {
namespace {

const char* CheckIds(const Tensor& ids) noexcept {
  const bool is_column = ids.is_present() && ids.dtype == DType::kI32 && ids.rows >= 1 && ids.cols == 1 && ids.stride >= 1;
  return is_column ? nullptr : "the ids are not an i32 column";
}

const char* CheckLogprobs(const Tensor& logprobs, int64_t rows) noexcept {
  const bool is_fine = IsMatrix(logprobs) && logprobs.rows == rows && logprobs.cols >= sample_params::kLogprobCols;
  return is_fine ? nullptr : "the log-probabilities are not an f32 matrix with a row per id";
}

const char* CheckWorkspace(const Tensor& workspace, int64_t bytes) noexcept {
  if (!IsMatrix(workspace) || workspace.stride != workspace.cols) return "the workspace is not a dense f32 matrix";
  return workspace.rows * workspace.cols * static_cast<int64_t>(sizeof(float)) < bytes ? "the workspace is too small" : nullptr;
}

const char* CheckFollowsOutputs(const KernelCall& call) noexcept {
  const bool follows_outputs = call.params.ints[kDomain] == static_cast<int64_t>(Domain::kOutputs);
  return follows_outputs ? nullptr : "sampling must follow the output rows";
}

// Null when the rank's segments and W fit the vocabulary.
const char* CheckShare(const KernelCall& call, const Tensor& workspace) noexcept {
  const auto& ints = call.params.ints;
  const int64_t vocab = ints[sample_params::kVocab], first = ints[sample_params::kFirstSegment], segments = ints[sample_params::kNumSegments],
                outputs = ints[sample_params::kOutputs], round = ints[sample_params::kRound];
  if (vocab < 1 || vocab > kMaxVocab) return "the vocabulary is not of 1 to 2097152 tokens";
  if (first < 0 || segments < 1 || first > kSegments - 1 || segments > kSegments - first) return "the segments are not among the eight";
  if (outputs < 1 || outputs > kMaxSide) return "the number of output rows is out of range";
  if (round != 0 && round != 1) return "the round is neither 0 nor 1";
  const int64_t cols = SegmentBorder(vocab, static_cast<int>(first + segments)) - SegmentBorder(vocab, static_cast<int>(first));
  if (cols < 1) return "the segments are empty";
  if (const char* problem = CheckWorkspace(workspace, SampleRanksWorkspaceBytes(outputs, vocab, cols))) return problem;
  return CheckFollowsOutputs(call);
}

const char* CheckShareOfLogits(const KernelCall& call) noexcept {
  const Tensor& logits = call[0];
  if (const char* problem = CheckShare(call, call[1])) return problem;
  const SampleShare share = ShareOfSample(call, call[1], {});
  if (!IsMatrix(logits) || logits.rows != call.params.ints[sample_params::kOutputs] || logits.cols != share.cols())
    return "the logits are not an f32 matrix of the segments' columns";
  return nullptr;
}

int64_t SegmentTasks(const SampleShare& share) { return share.outputs * share.num_segments; }

}  // namespace

// Stages 0 and 1 take (row, segment) apart where a vocabulary is large; below, the task of stage 2 does everything.
int64_t SampleTasks(const KernelCall& call, const StepView& step, int stage) noexcept {
  const int64_t num_outputs = std::min<int64_t>(step.num_outputs, call[0].rows);
  if (stage == 2) return num_outputs;
  return call[1].cols >= kSplitVocab ? num_outputs * kSegments : 0;
}

const char* CheckSample(const KernelCall& call) noexcept {
  const Tensor &ids = call[0], &logits = call[1], &workspace = call[2], &logprobs = call[3];
  if (const char* problem = CheckIds(ids)) return problem;
  if (!IsMatrix(logits) || logits.rows != ids.rows) return "the logits are not an f32 matrix with a row per id";
  if (logits.cols > kMaxVocab) return "the vocabulary is larger than 2097152";
  if (const char* problem = CheckWorkspace(workspace, SampleWorkspaceBytes(ids.rows, logits.cols))) return problem;
  if (const char* problem = logprobs.is_present() ? CheckLogprobs(logprobs, ids.rows) : nullptr) return problem;
  return CheckFollowsOutputs(call);
}

int64_t SampleLocalTasks(const KernelCall& call, const StepView& step, int) noexcept { return SegmentTasks(ShareOfSample(call, call[1], step)); }

int64_t SampleDrawTasks(const KernelCall& call, const StepView& step, int) noexcept {
  const SampleShare share = ShareOfSample(call, call[1], step);
  return NeedsOfStep(share, step).sums ? SegmentTasks(share) : 0;
}

int64_t SamplePickTasks(const KernelCall& call, const StepView& step, int) noexcept {
  const SampleShare share = ShareOfSample(call, call[1], step);
  return NeedsOfStep(share, step).candidates ? SegmentTasks(share) : 0;
}

int64_t SampleDecideTasks(const KernelCall& call, const StepView& step, int) noexcept { return ShareOfSample(call, call[1], step).outputs; }

const char* CheckSampleLocal(const KernelCall& call) noexcept { return CheckShareOfLogits(call); }
const char* CheckSampleDraw(const KernelCall& call) noexcept { return CheckShareOfLogits(call); }
const char* CheckSamplePick(const KernelCall& call) noexcept { return CheckShareOfLogits(call); }

const char* CheckSampleDecide(const KernelCall& call) noexcept {
  const Tensor &ids = call[0], &logprobs = call[2];
  if (const char* problem = CheckIds(ids)) return problem;
  if (const char* problem = CheckShare(call, call[1])) return problem;
  if (ids.rows != call.params.ints[sample_params::kOutputs]) return "the ids are not one for each output row";
  if ((call.params.ints[sample_params::kHasLogprobs] != 0) != logprobs.is_present()) return "the log-probabilities are not as announced";
  return logprobs.is_present() ? CheckLogprobs(logprobs, ids.rows) : nullptr;
}

const char* CheckSampleGather(const KernelCall& call, int rank, int num_ranks) noexcept {
  if (num_ranks < 1 || num_ranks > kSegments || rank < 0 || rank >= num_ranks) return "the ranks are not 1 to 8";
  if (const char* problem = CheckShare(call, call[0])) return problem;
  const int first = FirstSegment(rank, num_ranks), end = FirstSegment(rank + 1, num_ranks);
  const auto& ints = call.params.ints;
  const bool are_own = ints[sample_params::kFirstSegment] == first && ints[sample_params::kNumSegments] == end - first;
  return are_own ? nullptr : "the segments are not the rank's own";
}

}  // namespace intaglio::kernels
