// Stores the keys and values of a run of rows that share one block, for one key/value head (the layout is in kv_layout.h).
// A run owns its tile, so no two tasks write the same bytes.
#include <algorithm>

#include "kernels/attention_tasks.h"
#include "kernels/isa/int_pairs.h"
#include "kernels/kv_layout.h"
#include "kernels/kv_runs.h"
#include "kernels/params.h"

namespace intaglio::kernels::INTAGLIO_ISA {
namespace {

// A head's tiles within a block.
struct Head {
  std::byte* k_tile;
  std::byte* v_tile;
  float* scales;   // of keys, then of values
  KvShape shape;
};

// One position's elements, as they are stored.
void StoreKeys(const Head& head, int64_t position, const auto* keys) {
  const int64_t per_lane = KvPerLane(head.shape.dtype), lines = PaddedKeyDim(head.shape) / per_lane;
  auto* lane =
      reinterpret_cast<std::remove_cvref_t<decltype(*keys)>*>(head.k_tile) + (position / kLanes * lines * kLanes + position % kLanes) * per_lane;
  for (int64_t d = 0; d < head.shape.head_dim; ++d) lane[d / per_lane * kLanes * per_lane + d % per_lane] = keys[d];
}

void StoreValues(const Head& head, int64_t position, const auto* values) {
  const int64_t per_lane = KvPerLane(head.shape.dtype);
  auto* tile = reinterpret_cast<std::remove_cvref_t<decltype(*values)>*>(head.v_tile) + position / per_lane * kLanes * per_lane + position % per_lane;
  for (int64_t d = 0; d < head.shape.v_dim; ++d) tile[d / kLanes * kKvTile * kLanes + d % kLanes * per_lane] = values[d];
}

void StoreAsBf16(const Head& head, int64_t position, const float* keys, const float* values) {
  uint16_t row[kMaxHeadDim];
  for (int64_t d = 0; d < head.shape.head_dim; ++d) row[d] = F32ToBf16(keys[d]);
  StoreKeys(head, position, row);
  for (int64_t d = 0; d < head.shape.v_dim; ++d) row[d] = F32ToBf16(values[d]);
  StoreValues(head, position, row);
}

void StoreAsInt8(const Head& head, int64_t position, const float* keys, const float* values) {
  constexpr float kLimit = 127.0f;
  int16_t integers[kMaxHeadDim];
  int8_t row[kMaxHeadDim];
  head.scales[position] = RoundRow(keys, head.shape.head_dim, kLimit, integers);
  for (int64_t d = 0; d < head.shape.head_dim; ++d) row[d] = static_cast<int8_t>(integers[d]);
  StoreKeys(head, position, row);
  head.scales[kKvTile + position] = RoundRow(values, head.shape.v_dim, kLimit, integers);
  for (int64_t d = 0; d < head.shape.v_dim; ++d) row[d] = static_cast<int8_t>(integers[d]);
  StoreValues(head, position, row);
}

}  // namespace

void KvWrite(const KernelCall& call, const StepView& step, int, int64_t task, std::byte*) noexcept {
  const Tensor &cache = call[0], &k = call[1], &v = call[2];
  const int64_t kv_heads = call.params.ints[attention_params::kKvHeads];
  const KvShape shape = ShapeOfKv(call, cache);
  const int64_t kv_head = task % kv_heads;
  const KvRun run = FindKvRun(call, step, task / kv_heads);
  if (run.block < 0) return;

  std::byte* k_tile = cache.data + run.block * KvBlockBytes(kv_heads, shape) + kv_head * KvHeadBytes(shape);
  std::byte* v_tile = k_tile + KTileBytes(shape);
  const Head head{k_tile, v_tile, reinterpret_cast<float*>(v_tile + VTileBytes(shape)), shape};
  if (step.positions[run.first_row] % kKvTile == 0) std::fill_n(k_tile, KvHeadBytes(shape), std::byte{0});
  for (int64_t row = run.first_row; row < run.first_row + run.num_rows; ++row) {
    const int64_t position = step.positions[row] % kKvTile;
    const float *keys = k.f32(row) + kv_head * shape.head_dim, *values = v.f32(row) + kv_head * shape.v_dim;
    if (shape.dtype == DType::kBF16) {
      StoreAsBf16(head, position, keys, values);
    } else if (shape.dtype == DType::kI8) {
      StoreAsInt8(head, position, keys, values);
    } else {
      StoreKeys(head, position, keys);
      StoreValues(head, position, values);
    }
  }
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
