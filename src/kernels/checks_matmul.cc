// Task counts, workspace and operand checks of matmul and embedding.
#include "kernels/checks.h"
#include "kernels/matmul_tasks.h"
#include "kernels/params.h"
#include "kernels/workspace.h"

namespace intaglio::kernels {
namespace {

bool IsWeight(const Tensor& tensor, DType dtype) { return tensor.is_present() && tensor.dtype == dtype && tensor.rows > 0 && tensor.cols > 0; }

const char* CheckMatMul(const KernelCall& call, DType dtype) noexcept {
  const Tensor &out = call[0], &x = call[1], &weight = call[2], &bias = call[3], &residual = call[4], &workspace = call[5];
  if (!IsMatrix(out) || !IsMatrix(x)) return "operand 0 or 1 is not an f32 matrix";
  if (!IsWeight(weight, dtype)) return "the weight has another element type than the kernel";
  if (out.rows != x.rows || out.cols != weight.rows || x.cols != weight.cols) return "input, weight and output do not fit together";
  if (bias.is_present() && (!IsMatrix(bias) || bias.rows != 1 || bias.cols != out.cols)) return "the bias is not one row as wide as the output";
  if (residual.is_present() && (!IsMatrix(residual) || residual.rows != out.rows || residual.cols != out.cols)) return "the residual is not shaped as the output";
  const int64_t needed = MatMulWorkspaceBytes(x.rows, x.cols);
  if (needed > 0 && (!IsMatrix(workspace) || workspace.rows != 1 || workspace.cols * static_cast<int64_t>(sizeof(float)) < needed)) return "the workspace is too small";
  const auto& borders = call.params.ints;
  if (borders[matmul_params::kBorders] != 0 || borders[matmul_params::kBorders + kSegments] != x.cols) return "the K segments do not cover the input";
  for (int s = 0; s < kSegments; ++s) {
    if (borders[static_cast<size_t>(matmul_params::kBorders + s)] > borders[static_cast<size_t>(matmul_params::kBorders + s + 1)]) return "the borders of the K segments do not ascend";
  }
  return CheckDomain(call);
}

const char* CheckEmbed(const KernelCall& call, DType dtype) noexcept {
  if (!IsMatrix(call[0])) return "the output is not an f32 matrix";
  if (!IsWeight(call[1], dtype)) return "the table has another element type than the kernel";
  if (call[0].cols != call[1].cols) return "the table is not as wide as the output";
  return call.params.ints[kDomain] == static_cast<int64_t>(Domain::kRows) ? nullptr : "an embedding works on rows, not on output rows";
}

}  // namespace

int64_t MatMulWorkspaceBytes(int64_t rows, int64_t k) { return rows > 1 ? rows * k * static_cast<int64_t>(sizeof(float)) : 0; }

int64_t MatMulTasks(const KernelCall& call, const StepView& step, int stage) noexcept {
  const int64_t rows = LiveRows(call, step);
  if (stage == 0) return rows > 1 ? CeilDiv(rows, kPackRows) : 0;
  return CeilDiv(rows, kChunkRows) * CeilDiv(call[0].cols, kTaskBlocks * kLanes);
}

const char* CheckMatMulF32(const KernelCall& call) noexcept { return CheckMatMul(call, DType::kF32); }
const char* CheckMatMulBf16(const KernelCall& call) noexcept { return CheckMatMul(call, DType::kBF16); }
const char* CheckEmbedF32(const KernelCall& call) noexcept { return CheckEmbed(call, DType::kF32); }
const char* CheckEmbedBf16(const KernelCall& call) noexcept { return CheckEmbed(call, DType::kBF16); }

}  // namespace intaglio::kernels
