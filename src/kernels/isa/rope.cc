// Rotary embedding: the first rotary_dim columns of every head are pairs, turned by the angle of the row's position.
// Rounding is settled: (x1, x2) -> (fma(-x2, sin, x1 * cos), fma(x1, sin, x2 * cos)).
#include <algorithm>
#include <cmath>

#include "kernels/isa/norm.h"
#include "kernels/isa/sine.h"
#include "kernels/params.h"

namespace intaglio::kernels::INTAGLIO_ISA {
namespace {

// The pair of column i is column i + half (rotate_half of Transformers). `out` may alias `x` exactly.
void RotateHalves(const float* x, const float* cosines, const float* sines, int64_t half, float* out) {
  for (int64_t i = 0; i < half; i += kLanes) {
    const int n = LanesLeft(i, half);
    const F32 x1 = LoadFirst(x + i, n), x2 = LoadFirst(x + half + i, n);
    const F32 cosine = LoadFirst(cosines + i, n), sine = LoadFirst(sines + i, n);
    StoreFirst(out + i, Fma(Sub(Zero(), x2), sine, Mul(x1, cosine)), n);
    StoreFirst(out + half + i, Fma(x1, sine, Mul(x2, cosine)), n);
  }
}

// The pair of column 2i is column 2i + 1.
void RotatePairs(const float* x, const float* cosines, const float* sines, int64_t half, float* out) {
  for (int64_t i = 0; i < half; ++i) {
    const float x1 = x[2 * i], x2 = x[2 * i + 1];
    out[2 * i] = std::fma(0.0f - x2, sines[i], x1 * cosines[i]);
    out[2 * i + 1] = std::fma(x1, sines[i], x2 * cosines[i]);
  }
}

// All heads of a row, from `x` to the call's output.
void RotateRow(const KernelCall& call, const StepView& step, int64_t row, const float* x) {
  const Tensor &out = call[0], &table = call[2];
  const int64_t head_dim = call.params.ints[rope_params::kHeadDim], rotary_dim = call.params.ints[rope_params::kRotaryDim];
  const int64_t half = rotary_dim / 2;
  // The runtime keeps positions below the context length; a plan whose table is shorter must not read past it.
  const int64_t has_rows = call.params.ints[rope_params::kHasRows];
  const int64_t table_row = has_rows == 0 ? step.positions[row] : has_rows == 1 ? step.rope_rows[row] : row;
  const float* cosines = table.f32(std::clamp<int64_t>(table_row, 0, table.rows - 1));
  const auto rotate = call.params.ints[rope_params::kStyle] == 0 ? RotateHalves : RotatePairs;
  for (int64_t begin = 0; begin < out.cols; begin += head_dim) {
    float* head = out.f32(row) + begin;
    rotate(x + begin, cosines, cosines + half, half, head);
    if (head != x + begin) std::copy(x + begin + rotary_dim, x + begin + head_dim, head + rotary_dim);
  }
}

}  // namespace

void Rope(const KernelCall& call, const StepView& step, int, int64_t row, std::byte*) noexcept { RotateRow(call, step, row, call[1].f32(row)); }

void Rotary(const KernelCall& call, const StepView& step, int, int64_t row, std::byte*) noexcept {
  const Tensor &out = call[0], &table = call[1];
  const int64_t length = step.rope_rows[row] - call.params.ints[rotary_params::kFirstLength];
  const float* frequencies = table.f32(std::clamp<int64_t>(length, 0, table.rows - 1));
  for (int64_t i = 0; i < table.cols; ++i) {
    const SineCosine turned = SineAndCosine(static_cast<float>(step.positions[row]) * frequencies[i]);
    out.f32(row)[i] = turned.cosine;
    out.f32(row)[table.cols + i] = turned.sine;
  }
}

void NormRope(const KernelCall& call, const StepView& step, int, int64_t row, std::byte*) noexcept {
  const Tensor &out = call[0], &x = call[1], &weight = call[3];
  const int64_t head_dim = call.params.ints[rope_params::kHeadDim];
  for (int64_t begin = 0; begin < x.cols; begin += head_dim) {
    RmsNormRun(x.f32(row) + begin, weight.f32(), call.params.floats[rope_params::kEps], head_dim, out.f32(row) + begin);
  }
  RotateRow(call, step, row, out.f32(row));
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
