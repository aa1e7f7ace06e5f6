// How matmul is cut into tasks, and the operand checks of matmul and embedding.
#include <algorithm>

#include "kernels/checks.h"
#include "kernels/leaves.h"
#include "kernels/matmul_tasks.h"
#include "kernels/pack.h"
#include "kernels/params.h"
#include "kernels/quant_format.h"
#include "kernels/workspace.h"

namespace intaglio::kernels {
namespace {

// A task reads about this much weight: enough to hide the cost of handing it out, little enough that threads end together.
constexpr int64_t kTaskWeightBytes = 128 << 10;
constexpr int64_t kMinTasks = 32;              // where columns allow it
constexpr int64_t kTaskPackedFloats = 16 << 10;

constexpr int64_t RoundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

// Weights of one type of floats, or quantised ones.
enum class Weights : uint8_t { kF32, kBf16, kQuantized };

const char* CheckPacked(const Tensor& weight, Weights kind, int64_t cols) noexcept {
  if (!weight.is_present()) return "there is no weight";
  if (kind == Weights::kF32 && weight.dtype != DType::kF32) return "the weight is not f32";
  if (kind == Weights::kBf16 && weight.dtype != DType::kBF16) return "the weight is not bf16";
  if (kind == Weights::kQuantized && !IsQuantized(weight.dtype)) return "the weight is not quantised";
  if (weight.rows < 1 || weight.rows > kMaxSide || weight.cols > kMaxSide) return "the size of the weight is out of range";
  return weight.cols == cols ? nullptr : "the weight has another number of columns than its input or output";
}

const char* CheckBorders(const KernelCall& call) noexcept {
  const int64_t* borders = &call.params.ints[matmul_params::kBorders];
  if (borders[0] != 0 || borders[kSegments] != call[2].cols) return "the segments do not cover K";
  if (!std::is_sorted(borders, borders + kSegments + 1)) return "the borders of the segments do not ascend";
  const auto is_within_unit = [&](int64_t border) { return border % SegmentUnit(call[2].dtype) != 0 && border != call[2].cols; };
  if (std::any_of(borders, borders + kSegments, is_within_unit)) return "a segment begins within a unit of the weight's groups";
  return CheckLeaves(call, borders);
}

const char* CheckMatMul(const KernelCall& call, Weights kind) noexcept {
  const Tensor &out = call[0], &x = call[1], &weight = call[2], &bias = call[3], &residual = call[4], &workspace = call[5];
  if (!IsMatrix(out) || !IsMatrix(x)) return "an operand is not an f32 matrix";
  if (const char* problem = CheckPacked(weight, kind, x.cols)) return problem;
  if (out.cols != weight.rows) return "the output has another number of columns than the weight has rows";
  if (x.rows != out.rows || out.rows > kMaxSide) return "input and output differ in rows";
  if (bias.is_present() && !IsRow(bias, out.cols)) return "the bias is not one row of the output's width";
  if (residual.is_present() && (!IsMatrix(residual) || residual.rows != out.rows || residual.cols != out.cols)) {
    return "the residual is shaped unlike the output";
  }
  if (const char* problem = CheckBorders(call)) return problem;
  if (const int64_t bytes = MatMulWorkspaceBytes(out.rows, x.cols, weight.dtype); bytes > 0) {
    if (!IsMatrix(workspace) || (workspace.rows > 1 && workspace.stride != workspace.cols)) return "the workspace is not a dense f32 matrix";
    if (workspace.rows > kMaxSide || workspace.cols > kMaxSide || workspace.rows * workspace.cols < bytes / static_cast<int64_t>(sizeof(float)))
      return "the workspace is too small";
  }
  return CheckDomain(call);
}

const char* CheckEmbed(const KernelCall& call, Weights kind) noexcept {
  if (!IsMatrix(call[0])) return "the output is not an f32 matrix";
  if (const char* problem = CheckPacked(call[1], kind, call[0].cols)) return problem;
  const int64_t first_id = call.params.ints[embed_params::kFirstId];
  if (first_id < 0 || first_id > kMaxSide) return "the first id of the table is out of range";
  return CheckStepRows(call, Domain::kRows);
}

}  // namespace

int64_t MatMulRowBytes(int64_t k, DType dtype) { return (IsQuantized(dtype) ? RoundUp(k, kLargestUnitK) : k) * static_cast<int64_t>(sizeof(float)); }

int64_t MatMulWorkspaceBytes(int64_t rows, int64_t k, DType dtype) { return rows > 1 || IsQuantized(dtype) ? rows * MatMulRowBytes(k, dtype) : 0; }

IndexRange Part(int64_t size, int64_t index, int64_t count) noexcept { return {size * index / count, size * (index + 1) / count}; }

MatMulCut CutMatMul(const KernelCall& call, const StepView& step) noexcept {
  const Tensor &out = call[0], &weight = call[2];
  MatMulCut cut;
  cut.rows = std::min<int64_t>(LiveRows(call, step), out.rows);
  cut.row_chunks = (cut.rows + kMatMulChunkRows - 1) / kMatMulChunkRows;
  cut.blocks = NumBlocks(weight.rows);
  const int64_t by_bytes = kTaskWeightBytes / PackedBlockBytes(weight.cols, weight.dtype), by_tasks = cut.blocks / kMinTasks;
  cut.blocks_per_task = RoundUp(std::max<int64_t>(1, std::min(by_bytes, by_tasks)), 4);
  cut.block_groups = (cut.blocks + cut.blocks_per_task - 1) / cut.blocks_per_task;
  const int64_t chunk_rows = std::min(cut.rows, kMatMulChunkRows);
  const int64_t least_range = IsQuantized(weight.dtype) ? kLargestUnitK : kLanes;
  cut.k_ranges = std::clamp<int64_t>(chunk_rows * weight.cols / kTaskPackedFloats, 1, std::max<int64_t>(1, weight.cols / least_range));
  return cut;
}

int64_t MatMulTasks(const KernelCall& call, const StepView& step, int stage) noexcept {
  const MatMulCut cut = CutMatMul(call, step);
  if (stage == 0) return cut.rows > 1 || IsQuantized(call[2].dtype) ? cut.row_chunks * cut.k_ranges : 0;
  return cut.row_chunks * cut.block_groups;
}

const char* CheckMatMulF32(const KernelCall& call) noexcept { return CheckMatMul(call, Weights::kF32); }
const char* CheckMatMulBf16(const KernelCall& call) noexcept { return CheckMatMul(call, Weights::kBf16); }
const char* CheckMatMulQ(const KernelCall& call) noexcept { return CheckMatMul(call, Weights::kQuantized); }
const char* CheckEmbedF32(const KernelCall& call) noexcept { return CheckEmbed(call, Weights::kF32); }
const char* CheckEmbedBf16(const KernelCall& call) noexcept { return CheckEmbed(call, Weights::kBf16); }
const char* CheckEmbedQ(const KernelCall& call) noexcept { return CheckEmbed(call, Weights::kQuantized); }

}  // namespace intaglio::kernels
