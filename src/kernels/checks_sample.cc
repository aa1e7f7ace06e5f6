// Task counts and the operand check of sample.
#include <algorithm>

#include "kernels/checks.h"
#include "kernels/params.h"
#include "kernels/vocabulary.h"
#include "kernels/workspace.h"

namespace intaglio::kernels {

// Stages 0 and 1 take (row, segment) apart where a vocabulary is large; below, the task of stage 2 does everything.
int64_t SampleTasks(const KernelCall& call, const StepView& step, int stage) noexcept {
  const int64_t num_outputs = std::min<int64_t>(step.num_outputs, call[0].rows);
  if (stage == 2) return num_outputs;
  return call[1].cols >= kSplitVocab ? num_outputs * kSegments : 0;
}

const char* CheckSample(const KernelCall& call) noexcept {
  const Tensor &ids = call[0], &logits = call[1], &workspace = call[2], &logprobs = call[3];
  if (!ids.is_present() || ids.dtype != DType::kI32 || ids.rows < 1 || ids.cols != 1 || ids.stride < 1) return "the ids are not an i32 column";
  if (!IsMatrix(logits) || logits.rows != ids.rows) return "the logits are not an f32 matrix with a row per id";
  if (logits.cols > kMaxVocab) return "the vocabulary is larger than 2097152";
  if (!IsMatrix(workspace) || workspace.stride != workspace.cols) return "the workspace is not a dense f32 matrix";
  if (workspace.rows * workspace.cols * static_cast<int64_t>(sizeof(float)) < SampleWorkspaceBytes(ids.rows, logits.cols))
    return "the workspace is too small";
  if (logprobs.is_present() && (!IsMatrix(logprobs) || logprobs.rows != ids.rows || logprobs.cols < sample_params::kLogprobCols)) {
    return "the log-probabilities are not an f32 matrix with a row per id";
  }
  const bool follows_outputs = call.params.ints[kDomain] == static_cast<int64_t>(Domain::kOutputs);
  return follows_outputs ? nullptr : "sampling must follow the output rows";
}

}  // namespace intaglio::kernels
