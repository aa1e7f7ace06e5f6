// Kernels that work head by head: the matmuls are matmul.cc's, over each head's columns.
#include <algorithm>

#include "kernels/head_share.h"
#include "kernels/isa/matmul.h"
#include "kernels/isa/simd.h"
#include "kernels/params.h"

namespace intaglio::kernels::INTAGLIO_ISA {

void HeadMatMulF32(const KernelCall& call, const StepView& step, int stage, int64_t task, std::byte* scratch) noexcept {
  const int64_t tasks = TasksOfHead(call, step, stage);
  MatMulF32(ShareOfHead(call, task / tasks), step, stage, task % tasks, scratch);
}

void HeadMatMulBf16(const KernelCall& call, const StepView& step, int stage, int64_t task, std::byte* scratch) noexcept {
  const int64_t tasks = TasksOfHead(call, step, stage);
  MatMulBf16(ShareOfHead(call, task / tasks), step, stage, task % tasks, scratch);
}

void HeadConcat(const KernelCall& call, const StepView&, int, int64_t row, std::byte*) noexcept {
  const Tensor &out = call[0], &a = call[1], &b = call[2];
  const int64_t heads = call.params.ints[head_params::kHeads], a_size = a.cols / heads, b_size = out.cols / heads - a_size;
  const int64_t b_step = b.cols == b_size ? 0 : b_size;   // one head of b may be for all
  for (int64_t head = 0; head < heads; ++head) {
    float* to = out.f32(row) + head * (a_size + b_size);
    std::copy_n(a.f32(row) + head * a_size, a_size, to);
    std::copy_n(b.f32(row) + head * b_step, b_size, to + a_size);
  }
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
