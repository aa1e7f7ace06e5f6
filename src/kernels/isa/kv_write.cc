// Stores the keys and values of a run of rows that share one block, for one key/value head (the layout is in kv_layout.h).
// A run owns its tile, so no two tasks write the same bytes.
#include <algorithm>

#include "kernels/isa/simd.h"
#include "kernels/kv_layout.h"
#include "kernels/kv_runs.h"
#include "kernels/params.h"

namespace intaglio::kernels::INTAGLIO_ISA {

void KvWrite(const KernelCall& call, const StepView& step, int, int64_t task, std::byte*) noexcept {
  const Tensor &cache = call[0], &k = call[1], &v = call[2];
  const int64_t kv_heads = call.params.ints[attention_params::kKvHeads], head_dim = call.params.ints[attention_params::kHeadDim];
  const int64_t v_dim = ValueDim(call);
  const int64_t head = task % kv_heads;
  const KvRun run = FindKvRun(call, step, task / kv_heads);
  if (run.block < 0) return;

  float* k_tile = cache.f32(run.block) + head * KvHeadFloats(head_dim, v_dim);
  float* v_tile = k_tile + KTileFloats(head_dim);
  if (step.positions[run.first_row] % kKvTile == 0) std::fill(k_tile, k_tile + KvHeadFloats(head_dim, v_dim), 0.0f);
  for (int64_t row = run.first_row; row < run.first_row + run.num_rows; ++row) {
    const int64_t position = step.positions[row] % kKvTile;
    const float* k_row = k.f32(row) + head * head_dim;
    const float* v_row = v.f32(row) + head * v_dim;
    float* k_lane = k_tile + position / kLanes * head_dim * kLanes + position % kLanes;
    for (int64_t d = 0; d < head_dim; ++d) k_lane[d * kLanes] = k_row[d];
    for (int64_t d = 0; d < v_dim; d += kLanes) {
      const int n = LanesLeft(d, v_dim);
      StoreFirst(v_tile + (d * kKvTile + position * kLanes), LoadFirst(v_row + d, n), n);
    }
  }
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
