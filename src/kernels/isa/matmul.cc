// Matmul with weights in f32 and bf16. In stage 0 the activations of every row tile are packed k-major, [k][rows of the tile]; a single row
// is that already. In stage 1 they are multiplied (matmul_loop.h).
#include "kernels/isa/matmul_loop.h"

namespace intaglio::kernels::INTAGLIO_ISA {
namespace {

void PackRows(const KernelCall& call, const MatMulCut& cut, int64_t index) {
  const int64_t k = call[2].cols;
  const IndexRange rows = Part(cut.rows, index / cut.k_ranges, cut.row_chunks), range = Part(k, index % cut.k_ranges, cut.k_ranges);
  const int64_t num_tiles = NumTiles<F32Weights>(rows);
  for (int64_t t = 0; t < num_tiles; ++t) {
    const IndexRange part = Part(rows.end - rows.begin, t, num_tiles);
    const int64_t first_row = rows.begin + part.begin, tile_rows = part.end - part.begin;
    float* tile = call[5].f32() + first_row * k;
    for (int64_t r = 0; r < tile_rows; ++r) {
      const float* row = call[1].f32(first_row + r);
      for (int64_t i = range.begin; i < range.end; ++i) tile[i * tile_rows + r] = row[i];
    }
  }
}

template <typename Weights>
void MatMul(const KernelCall& call, const StepView& step, int stage, int64_t task, std::byte* scratch) {
  const MatMulCut cut = CutMatMul(call, step);
  if (stage == 0) return PackRows(call, cut, task);
  Multiply<Weights>(call, cut, task, scratch);
}

}  // namespace

void MatMulF32(const KernelCall& call, const StepView& step, int stage, int64_t task, std::byte* scratch) noexcept {
  MatMul<F32Weights>(call, step, stage, task, scratch);
}

void MatMulBf16(const KernelCall& call, const StepView& step, int stage, int64_t task, std::byte* scratch) noexcept {
  MatMul<Bf16Weights>(call, step, stage, task, scratch);
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
