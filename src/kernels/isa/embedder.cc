// Kernels of models that embed: layer norm, position embeddings, pooling, vectors of unit length. A task is one row; sums over columns are
// 16 partial sums and one tree, sums over rows go by ascending position.
#include <cmath>
#include <cstring>

#include "kernels/isa/norm.h"
#include "kernels/params.h"

namespace intaglio::kernels::INTAGLIO_ISA {
namespace {

// Calls body(first column, lanes that exist) for whole lanes, then for what is left.
template <typename Body>
INTAGLIO_INLINE void ForColumns(int64_t cols, Body body) {
  int64_t i = 0;
  for (; i + kLanes <= cols; i += kLanes) body(i, kLanes);
  if (i < cols) body(i, LanesLeft(i, cols));
}

float SumOf(const float* x, int64_t width) {
  F32 sum = Zero();
  ForColumns(width, [&](int64_t i, int n) { sum = Add(sum, LoadFirst(x + i, n)); });
  return SumLanes(sum);
}

// Lanes that do not exist load as zero, which is not the mean: they are left out by their index.
float SumOfSquaredDeviations(const float* x, float mean, int64_t width) {
  F32 sum = Zero();
  ForColumns(width, [&](int64_t i, int n) {
    const F32 deviation = SelectLess(LaneIndex(), Set(static_cast<float>(n)), Sub(LoadFirst(x + i, n), Set(mean)), Zero());
    sum = Fma(deviation, deviation, sum);
  });
  return SumLanes(sum);
}

}  // namespace

void LayerNorm(const KernelCall& call, const StepView&, int, int64_t row, std::byte*) noexcept {
  const int64_t width = call[0].cols;
  const float *x = call[1].f32(row), *weight = call[2].f32(), *bias = call[3].f32();
  const float mean = SumOf(x, width) / static_cast<float>(width);
  const float variance = SumOfSquaredDeviations(x, mean, width) / static_cast<float>(width);
  const F32 inverse = Set(1.0f / std::sqrt(variance + call.params.floats[layer_norm_params::kEps]));
  float* out = call[0].f32(row);
  ForColumns(width, [&](int64_t i, int n) {
    const F32 normal = Mul(Sub(LoadFirst(x + i, n), Set(mean)), inverse);
    StoreFirst(out + i, Fma(normal, LoadFirst(weight + i, n), LoadFirst(bias + i, n)), n);
  });
}

void UnitNorm(const KernelCall& call, const StepView&, int, int64_t row, std::byte*) noexcept {
  constexpr float kShortest = 1e-12f;   // torch.nn.functional.normalize's
  const float* x = call[1].f32(row);
  const float length = std::sqrt(SumOfSquares(x, call[0].cols));
  const F32 divisor = Set(length > kShortest ? length : kShortest);
  float* out = call[0].f32(row);
  ForColumns(call[0].cols, [&](int64_t i, int n) { StoreFirst(out + i, Div(LoadFirst(x + i, n), divisor), n); });
}

void AddPosition(const KernelCall& call, const StepView& step, int, int64_t row, std::byte*) noexcept {
  const int64_t position = step.positions[row];
  if (position < 0 || position >= call[2].rows) return;   // the runtime's are within the context; a lying plan must stay harmless
  const float *x = call[1].f32(row), *table = call[2].f32(position), *constant = call[3].f32();
  float* out = call[0].f32(row);
  ForColumns(call[0].cols,
             [&](int64_t i, int n) { StoreFirst(out + i, Add(Add(LoadFirst(x + i, n), LoadFirst(constant + i, n)), LoadFirst(table + i, n)), n); });
}

void Pool(const KernelCall& call, const StepView& step, int, int64_t row, std::byte*) noexcept {
  const Tensor &out = call[0], &x = call[1];
  const int64_t last = step.output_rows[row];
  if (last < 0 || last >= x.rows) return;
  const int64_t first = last - step.positions[last];   // the runtime lets no sequence begin before its step
  if (first < 0) return;
  if (call.params.ints[pool_params::kMode] == 0) {
    std::memcpy(out.f32(row), x.f32(first), static_cast<size_t>(out.cols) * sizeof(float));
    return;
  }
  const F32 count = Set(static_cast<float>(last - first + 1));
  ForColumns(out.cols, [&](int64_t i, int n) {
    F32 sum = Zero();
    for (int64_t r = first; r <= last; ++r) sum = Add(sum, LoadFirst(x.f32(r) + i, n));
    StoreFirst(out.f32(row) + i, Div(sum, count), n);
  });
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
