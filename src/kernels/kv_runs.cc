#include "kernels/kv_runs.h"

#include <algorithm>

#include "kernels/params.h"

namespace intaglio::kernels {
namespace {

int64_t LiveRows(const KernelCall& call, const StepView& step) { return std::min<int64_t>(step.num_rows, call[1].rows); }

// The end of the run that starts at `row`.
int64_t RunEnd(const StepView& step, int64_t row, int64_t num_rows) {
  int64_t end = row + 1;
  while (end < num_rows && step.slots[end] == step.slots[row] && step.positions[end] / kKvTile == step.positions[row] / kKvTile) ++end;
  return end;
}

}  // namespace

int64_t KvWriteTasks(const KernelCall& call, const StepView& step, int) noexcept {
  const int64_t num_rows = LiveRows(call, step);
  int64_t runs = 0;
  for (int64_t row = 0; row < num_rows; row = RunEnd(step, row, num_rows)) ++runs;
  return runs * call.params.ints[attention_params::kKvHeads];
}

KvRun FindKvRun(const KernelCall& call, const StepView& step, int64_t run_index) noexcept {
  const int64_t num_rows = LiveRows(call, step);
  int64_t row = 0;
  for (; run_index > 0; --run_index) row = RunEnd(step, row, num_rows);
  return {.first_row = row,
          .num_rows = RunEnd(step, row, num_rows) - row,
          .block = PhysicalBlock(call, step, step.slots[row], step.positions[row] / kKvTile)};
}

int64_t ValueDim(const KernelCall& call) noexcept {
  const int64_t v_dim = call.params.ints[attention_params::kVDim];
  return v_dim == 0 ? call.params.ints[attention_params::kHeadDim] : v_dim;
}

KvShape ShapeOfKv(const KernelCall& call, const Tensor& cache) noexcept {
  return {.head_dim = call.params.ints[attention_params::kHeadDim], .v_dim = ValueDim(call), .dtype = cache.dtype};
}

int64_t PhysicalBlock(const KernelCall& call, const StepView& step, int32_t slot, int64_t tile) noexcept {
  const auto group = static_cast<size_t>(call.params.ints[attention_params::kGroup]);
  const int64_t max_blocks = step.max_blocks[group];
  if (tile >= max_blocks) return -1;
  const int64_t block = step.block_tables[group][slot * max_blocks + tile];
  return block >= 0 && block < call.params.ints[attention_params::kNumBlocks] ? block : -1;
}

}  // namespace intaglio::kernels
