// Task counts and operand checks of the mixture-of-experts kernels. An expert's work is a matmul over the rows that chose it, so tasks,
// and with them the cost of a step, follow the experts that are used.
#include <algorithm>

#include "kernels/checks.h"
#include "kernels/expert_rows.h"
#include "kernels/leaves.h"
#include "kernels/matmul_tasks.h"
#include "kernels/pack.h"
#include "kernels/params.h"
#include "kernels/workspace.h"

namespace intaglio::kernels {

namespace {

// The offsets of the call's own experts.
const int32_t* OwnOffsets(const KernelCall& call) { return call[3].i32() + call.params.ints[expert_params::kFirstExpert]; }

// The first row of the call's own `expert`, within the rows that exist whatever a hostile plan put there.
int64_t Offset(const KernelCall& call, int64_t rows, int64_t expert) { return std::clamp<int64_t>(OwnOffsets(call)[expert], 0, rows); }

const char* CheckExperts(const KernelCall& call) noexcept {
  const int64_t num_experts = NumExperts(call);
  return num_experts >= 1 && num_experts <= route_params::kMaxExperts ? nullptr : "the number of experts is out of range";
}

// Null when the call's own experts are among those that the offsets are of.
const char* CheckOwnExperts(const KernelCall& call, const Tensor& offsets) noexcept {
  if (const char* problem = CheckExperts(call)) return problem;
  if (!IsOffsets(offsets)) return "the offsets are not one for each expert";
  const int64_t first = call.params.ints[expert_params::kFirstExpert];
  return first >= 0 && first <= offsets.cols - 1 - NumExperts(call) ? nullptr : "the offsets do not reach as far as the experts";
}

const char* CheckExpertMatMul(const KernelCall& call, DType dtype) noexcept {
  const Tensor &out = call[0], &x = call[1], &weight = call[2], &bias = call[4], &workspace = call[5];
  if (const char* problem = CheckOwnExperts(call, call[3])) return problem;
  if (!IsMatrix(out) || !IsMatrix(x)) return "an operand is not an f32 matrix";
  if (out.rows != x.rows || out.rows > kMaxSide || out.cols > kMaxSide) return "input and output differ in rows";
  if (!weight.is_present() || weight.dtype != dtype || weight.cols != x.cols || weight.cols > kMaxSide) return "the weights do not fit the input";
  if (weight.rows != NumExperts(call) * NumBlocks(out.cols) * kLanes) return "the weights are not one packed matrix for each expert";
  if (bias.is_present() && (!IsMatrix(bias) || bias.rows != NumExperts(call) || bias.cols != out.cols))
    return "the bias is not one row for each expert";
  const int64_t* borders = &call.params.ints[expert_params::kBorders];
  if (!IsSegmentation(borders, x.cols)) return "the segments do not cover K";
  if (const char* problem = CheckLeaves(call, borders)) return problem;
  const int64_t bytes = MatMulWorkspaceBytes(x.rows, x.cols, weight.dtype);
  if (bytes > 0 && (!IsMatrix(workspace) || workspace.rows != 1 || workspace.cols < bytes / static_cast<int64_t>(sizeof(float))))
    return "the workspace is too small";
  return CheckDomain(call);
}

}  // namespace

bool IsChoices(const Tensor& t, int64_t rows, int64_t k) noexcept {
  return t.is_present() && t.dtype == DType::kI32 && t.rows == rows && t.cols == k && t.stride >= k;
}

bool IsOffsets(const Tensor& t) noexcept {
  return t.is_present() && t.dtype == DType::kI32 && t.rows == 1 && t.cols >= 2 && t.cols <= route_params::kMaxExperts + 1;
}

int64_t NumExperts(const KernelCall& call) noexcept { return call.params.ints[expert_params::kNumExperts]; }

ExpertShare ShareOfExpert(const KernelCall& call, const StepView& step, int64_t expert) noexcept {
  const Tensor &out = call[0], &x = call[1], &weight = call[2];
  const int64_t live = std::min(LiveRows(call, step), out.rows), begin = Offset(call, live, expert),
                end = std::max(begin, Offset(call, live, expert + 1));
  ExpertShare share;
  share.step.num_rows = static_cast<int32_t>(end - begin);
  share.call.params.ints = call.params.ints;
  share.call.params.ints[kRowMultiple] = 1;
  share.call.params.ints[expert_params::kNumExperts] = share.call.params.ints[expert_params::kFirstExpert] = 0;
  auto& operands = share.call.operands;
  operands[0] = {
      .data = reinterpret_cast<std::byte*>(out.f32(begin)), .rows = end - begin, .cols = out.cols, .stride = out.stride, .dtype = DType::kF32};
  operands[1] = {.data = reinterpret_cast<std::byte*>(x.f32(begin)), .rows = end - begin, .cols = x.cols, .stride = x.stride, .dtype = DType::kF32};
  operands[2] = {.data = weight.data + expert * NumBlocks(out.cols) * PackedBlockBytes(weight.cols, weight.dtype),
                 .rows = out.cols,
                 .cols = weight.cols,
                 .stride = weight.cols,
                 .dtype = weight.dtype};
  if (call[4].is_present())
    operands[3] = {.data = reinterpret_cast<std::byte*>(call[4].f32(expert)), .rows = 1, .cols = out.cols, .stride = out.cols, .dtype = DType::kF32};
  if (call[5].is_present()) {
    const int64_t row_bytes = MatMulRowBytes(x.cols, weight.dtype), floats = (end - begin) * row_bytes / static_cast<int64_t>(sizeof(float));
    operands[5] = {.data = call[5].data + begin * row_bytes, .rows = 1, .cols = floats, .stride = floats, .dtype = DType::kF32};
  }
  return share;
}

int64_t ExpertMatMulTasks(const KernelCall& call, const StepView& step, int stage) noexcept {
  int64_t tasks = 0;
  for (int64_t expert = 0; expert < NumExperts(call); ++expert) {
    if (OwnOffsets(call)[expert] == OwnOffsets(call)[expert + 1]) continue;
    const ExpertShare share = ShareOfExpert(call, step, expert);
    tasks += share.step.num_rows == 0 ? 0 : MatMulTasks(share.call, share.step, stage);
  }
  return tasks;
}

ExpertTask FindExpertTask(const KernelCall& call, const StepView& step, int stage, int64_t task) noexcept {
  for (int64_t expert = 0; expert < NumExperts(call); ++expert) {
    if (OwnOffsets(call)[expert] == OwnOffsets(call)[expert + 1]) continue;
    const ExpertShare share = ShareOfExpert(call, step, expert);
    const int64_t tasks = share.step.num_rows == 0 ? 0 : MatMulTasks(share.call, share.step, stage);
    if (task < tasks) return {.expert = expert, .task = task};
    task -= tasks;
  }
  return {};
}

RowRange CombinedRows(const KernelCall& call, const StepView& step) noexcept {
  const int64_t num_shares = std::max<int64_t>(1, call.params.ints[expert_params::kNumShares]);
  return ShareOfRows(std::min(LiveRows(call, step), call[0].rows), call.params.ints[expert_params::kShare], num_shares);
}
int64_t ExpertCombineTasks(const KernelCall& call, const StepView& step, int) noexcept { return CombinedRows(call, step).size(); }

int64_t OneTask(const KernelCall&, const StepView& step, int) noexcept { return step.num_rows > 0 ? 1 : 0; }
int64_t ExpertGatherTasks(const KernelCall& call, const StepView& step, int) noexcept { return std::min<int64_t>(step.num_rows, call[1].rows); }

const char* CheckRoute(const KernelCall& call) noexcept {
  const Tensor &ids = call[0], &weights = call[1], &logits = call[2], &bias = call[3];
  if (!IsMatrix(logits) || logits.cols > route_params::kMaxExperts) return "the logits are not a matrix over the experts";
  if (ids.cols < 1 || ids.cols > route_params::kMaxTopK || ids.cols > logits.cols) return "the number of experts per row is out of range";
  if (!IsChoices(ids, logits.rows, ids.cols) || !IsMatrix(weights) || weights.rows != ids.rows || weights.cols != ids.cols)
    return "ids and weights are not one for each choice";
  if (bias.is_present() && !IsRow(bias, logits.cols)) return "the correction bias is not one for each expert";
  const int64_t scoring = call.params.ints[route_params::kScoring], groups = call.params.ints[route_params::kNumGroups],
                top = call.params.ints[route_params::kTopGroups];
  if (scoring < 0 || scoring > 2) return "the scoring is unknown";
  if (groups < 1 || logits.cols % groups != 0 || top < 1 || top > groups || ids.cols > logits.cols / groups * top)
    return "the expert groups are out of range";
  return CheckDomain(call);
}

const char* CheckExpertGroup(const KernelCall& call) noexcept {
  const Tensor &positions = call[0], &offsets = call[1], &ids = call[2];
  if (ids.cols < 1 || ids.cols > route_params::kMaxTopK || !IsChoices(ids, ids.rows, ids.cols) || !IsChoices(positions, ids.rows, ids.cols))
    return "ids and positions are not one for each choice";
  if (!IsOffsets(offsets)) return "the offsets are not one for each expert";
  if (call.params.ints[expert_params::kCapacity] < 0) return "the capacity of an expert is negative";
  return CheckDomain(call);
}

const char* CheckExpertGather(const KernelCall& call) noexcept {
  const Tensor &out = call[0], &x = call[1], &positions = call[2], &weights = call[3];
  if (!IsMatrix(out) || !IsMatrix(x) || out.cols != x.cols) return "the input is not as wide as the output";
  if (positions.cols < 1 || !IsChoices(positions, x.rows, positions.cols) || out.rows != x.rows * positions.cols)
    return "the output has not one row for each choice";
  if (weights.is_present() && (!IsMatrix(weights) || weights.rows != x.rows || weights.cols != positions.cols))
    return "the weights are not one for each choice";
  return CheckDomain(call);
}

const char* CheckExpertCombine(const KernelCall& call) noexcept {
  if (const char* problem = CheckExperts(call)) return problem;
  const Tensor &out = call[0], &y = call[1], &positions = call[2], &ids = call[3], &weights = call[4];
  if (!IsMatrix(out) || !IsMatrix(y) || out.cols != y.cols) return "the input is not as wide as the output";
  if (positions.cols < 1 || !IsChoices(positions, out.rows, positions.cols) || y.rows != out.rows * positions.cols)
    return "the input has not one row for each choice";
  if (!IsChoices(ids, out.rows, positions.cols)) return "the ids are not one for each choice";
  if (weights.is_present() && (!IsMatrix(weights) || weights.rows != out.rows || weights.cols != positions.cols))
    return "the weights are not one for each choice";
  const int64_t first = call.params.ints[expert_params::kFirstGroup], groups = call.params.ints[expert_params::kNumGroups];
  if (groups != 0 && groups != 1 && groups != 2 && groups != 4 && groups != kSegments) return "the number of groups is not 1, 2, 4 or 8";
  if (first < 0 || first > (groups == 0 ? 0 : kSegments - groups)) return "the groups are not among the eight";
  const int64_t share = call.params.ints[expert_params::kShare], num_shares = call.params.ints[expert_params::kNumShares];
  if (num_shares < 0 || num_shares > kSegments || share < 0 || share >= std::max<int64_t>(1, num_shares))
    return "the share of rows is not one of at most eight";
  return CheckDomain(call);
}

const char* CheckExpertIsolate(const KernelCall& call) noexcept {
  if (const char* problem = CheckAlike(call)) return problem;
  if (const char* problem = CheckOwnExperts(call, call[2])) return problem;
  return CheckDomain(call);
}

const char* CheckExpertBias(const KernelCall& call) noexcept {
  if (const char* problem = CheckAlike(call)) return problem;
  const Tensor &offsets = call[2], &bias = call[3];
  if (!IsOffsets(offsets)) return "the offsets are not one for each expert";
  if (!IsMatrix(bias) || bias.rows != offsets.cols - 1 || bias.cols != call[0].cols) return "the bias is not one row for each expert";
  return CheckDomain(call);
}

const char* CheckExpertMatMulF32(const KernelCall& call) noexcept { return CheckExpertMatMul(call, DType::kF32); }
const char* CheckExpertMatMulBf16(const KernelCall& call) noexcept { return CheckExpertMatMul(call, DType::kBF16); }
const char* CheckExpertMatMulQ(const KernelCall& call) noexcept {
  return IsQuantized(call[2].dtype) ? CheckExpertMatMul(call, call[2].dtype) : "the weights are not quantised";
}

}  // namespace intaglio::kernels
