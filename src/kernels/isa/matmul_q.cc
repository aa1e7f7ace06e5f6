// Matmul with quantised weights, whose format is that of the weight operand. In stage 0 the activations of every row tile are quantised and
// packed (quant_rows.h), in stage 1 multiplied (matmul_loop.h, quant_walk.h).
#include "kernels/expert_rows.h"
#include "kernels/head_share.h"
#include "kernels/isa/matmul_loop.h"
#include "kernels/isa/quant_walk.h"

namespace intaglio::kernels::INTAGLIO_ISA {
namespace {

template <DType kType>
void QuantizeRows(const KernelCall& call, const MatMulCut& cut, int64_t index) {
  constexpr int64_t kActivationK = FormatOf(kType).activation_k;
  const int64_t k = call[2].cols, padded_k = FormatOf(kType).num_units(k) * FormatOf(kType).unit_k;
  const IndexRange rows = Part(cut.rows, index / cut.k_ranges, cut.row_chunks);
  const IndexRange range = Part(padded_k / kActivationK, index % cut.k_ranges, cut.k_ranges);
  const int64_t num_tiles = NumTiles<QuantWeights<kType>>(rows);
  for (int64_t t = 0; t < num_tiles; ++t) {
    const IndexRange part = Part(rows.end - rows.begin, t, num_tiles);
    const int64_t first_row = rows.begin + part.begin, tile_rows = part.end - part.begin;
    const QuantTile<kType> tile(call[5].data + first_row * MatMulRowBytes(k, kType), tile_rows, k);
    for (int64_t r = 0; r < tile_rows; ++r) {
      for (int64_t i = range.begin; i < range.end; ++i) QuantizeGroup(call[1].f32(first_row + r), i * kActivationK, k, tile, r);
    }
  }
}

template <DType kType>
void MatMulOf(const KernelCall& call, const MatMulCut& cut, int stage, int64_t task, std::byte* scratch) {
  if (stage == 0) return QuantizeRows<kType>(call, cut, task);
  Multiply<QuantWeights<kType>>(call, cut, task, scratch);
}

using Function = void (*)(const KernelCall&, const MatMulCut&, int stage, int64_t task, std::byte* scratch);
template <size_t... kIndex>
constexpr auto MakeFunctions(std::index_sequence<kIndex...>) {
  return std::array<Function, sizeof...(kIndex)>{MatMulOf<kQuantFormats[kIndex].dtype>...};
}
constexpr auto kFunctions = MakeFunctions(std::make_index_sequence<std::size(kQuantFormats)>());

}  // namespace

void MatMulQ(const KernelCall& call, const StepView& step, int stage, int64_t task, std::byte* scratch) noexcept {
  const auto index = static_cast<size_t>(call[2].dtype) - static_cast<size_t>(DType::kQ8_0);
  kFunctions[index](call, CutMatMul(call, step), stage, task, scratch);
}

void ExpertMatMulQ(const KernelCall& call, const StepView& step, int stage, int64_t task, std::byte* scratch) noexcept {
  const ExpertTask found = FindExpertTask(call, step, stage, task);
  const ExpertShare share = ShareOfExpert(call, step, found.expert);
  MatMulQ(share.call, share.step, stage, found.task, scratch);
}

void HeadMatMulQ(const KernelCall& call, const StepView& step, int stage, int64_t task, std::byte* scratch) noexcept {
  const int64_t tasks = TasksOfHead(call, step, stage);
  MatMulQ(ShareOfHead(call, task / tasks), step, stage, task % tasks, scratch);
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
