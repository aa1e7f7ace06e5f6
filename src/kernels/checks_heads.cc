// Task counts and operand checks of the kernels that work head by head (multi-head latent attention).
#include "kernels/checks.h"
#include "kernels/head_share.h"
#include "kernels/matmul_tasks.h"
#include "kernels/pack.h"
#include "kernels/workspace.h"

namespace intaglio::kernels {

namespace {

int64_t NumHeads(const KernelCall& call) { return call.params.ints[head_params::kHeads]; }

Tensor Columns(const Tensor& tensor, int64_t begin, int64_t size) {
  Tensor part = tensor;
  part.data = reinterpret_cast<std::byte*>(tensor.f32() + begin);
  part.cols = size;
  return part;
}

bool IsSplit(const Tensor& tensor, int64_t heads) {
  return IsMatrix(tensor) && tensor.rows <= kMaxSide && tensor.cols <= kMaxSide && tensor.cols % heads == 0;
}

const char* CheckHeadMatMul(const KernelCall& call, DType dtype) noexcept {
  const int64_t heads = NumHeads(call);
  const Tensor &out = call[0], &x = call[1], &weight = call[2], &workspace = call[3];
  if (heads < 1 || heads > kMaxSide) return "the number of heads is out of range";
  if (!IsSplit(out, heads) || !IsSplit(x, heads)) return "an operand is not an f32 matrix of whole heads";
  if (out.rows != x.rows) return "input and output differ in rows";
  if (!weight.is_present() || weight.dtype != dtype || weight.cols != x.cols / heads) return "the weights do not fit the input";
  if (weight.rows != heads * NumBlocks(out.cols / heads) * kLanes) return "the weights are not one packed matrix for each head";
  if (!IsSegmentation(&call.params.ints[head_params::kBorders], weight.cols)) return "the segments do not cover K";
  const int64_t bytes = heads * MatMulWorkspaceBytes(x.rows, weight.cols, weight.dtype);
  if (bytes > 0 && (!IsMatrix(workspace) || workspace.rows != 1 || workspace.cols < bytes / static_cast<int64_t>(sizeof(float))))
    return "the workspace is too small";
  return CheckDomain(call);
}

}  // namespace

KernelCall ShareOfHead(const KernelCall& call, int64_t head) noexcept {
  const Tensor &out = call[0], &x = call[1], &weight = call[2], &workspace = call[3];
  const int64_t n = out.cols / NumHeads(call), k = weight.cols;
  KernelCall share;
  share.params.ints = call.params.ints;
  share.params.ints[head_params::kHeads] = 0;
  share.params.ints[kLeaves] = 0;   // no ranks share a head
  auto& operands = share.operands;
  operands[0] = Columns(out, head * n, n);
  operands[1] = Columns(x, head * k, k);
  operands[2] = weight;
  operands[2].data += head * NumBlocks(n) * PackedBlockBytes(k, weight.dtype);
  operands[2].rows = n;
  const int64_t floats = out.rows * MatMulRowBytes(k, weight.dtype) / static_cast<int64_t>(sizeof(float));
  if (workspace.is_present()) operands[5] = Columns(workspace, head * floats, floats);
  return share;
}

int64_t TasksOfHead(const KernelCall& call, const StepView& step, int stage) noexcept { return MatMulTasks(ShareOfHead(call, 0), step, stage); }

int64_t HeadMatMulTasks(const KernelCall& call, const StepView& step, int stage) noexcept { return NumHeads(call) * TasksOfHead(call, step, stage); }

const char* CheckHeadMatMulF32(const KernelCall& call) noexcept { return CheckHeadMatMul(call, DType::kF32); }
const char* CheckHeadMatMulBf16(const KernelCall& call) noexcept { return CheckHeadMatMul(call, DType::kBF16); }
const char* CheckHeadMatMulQ(const KernelCall& call) noexcept {
  return IsQuantized(call[2].dtype) ? CheckHeadMatMul(call, call[2].dtype) : "the weights are not quantised";
}

const char* CheckHeadConcat(const KernelCall& call) noexcept {
  const int64_t heads = NumHeads(call);
  const Tensor &out = call[0], &a = call[1], &b = call[2];
  if (heads < 1 || heads > kMaxSide) return "the number of heads is out of range";
  if (!IsSplit(out, heads) || !IsSplit(a, heads) || !IsMatrix(b)) return "an operand is not an f32 matrix of whole heads";
  if (a.rows != out.rows || b.rows != out.rows) return "inputs and output differ in rows";
  const int64_t b_size = (out.cols - a.cols) / heads;
  return b_size >= 1 && (b.cols == b_size || b.cols == b_size * heads) ? CheckDomain(call) : "the second input fits neither one head nor all";
}

}  // namespace intaglio::kernels
