// Kernels that look at one element of each operand. A task is one row; exactly `cols` columns are stored.
#include <algorithm>

#include "kernels/isa/activations.h"
#include "kernels/params.h"

namespace intaglio::kernels::INTAGLIO_ISA {
namespace {

// Applies `op` to whole lanes, then to what is left of the row.
template <typename Op>
INTAGLIO_INLINE void ForLanes(int64_t cols, float* out, Op op) {
  int64_t i = 0;
  for (; i + kLanes <= cols; i += kLanes) Store(out + i, op([i](const float* p) { return Load(p + i); }));
  if (i < cols) {
    const int n = LanesLeft(i, cols);
    StoreFirst(out + i, op([i, n](const float* p) { return LoadFirst(p + i, n); }), n);
  }
}

// 0.5 x (1 + tanh u) with u = sqrt(2/pi) (x + 0.044715 x^3), as PyTorch's gelu(approximate="tanh"). Since (1 + tanh u) / 2 is the
// sigmoid of 2u, there is no cancellation near zero or at either end.
INTAGLIO_INLINE F32 GeluTanhLanes(F32 x) {
  const F32 inner = Fma(Mul(Mul(x, x), x), Set(0.044715f), x);
  return TimesSigmoid(x, Mul(inner, Set(1.5957691216f)));
}

}  // namespace

void Add(const KernelCall& call, const StepView&, int, int64_t row, std::byte*) noexcept {
  const float *a = call[1].f32(row), *b = call[2].f32(row);
  ForLanes(call[0].cols, call[0].f32(row), [a, b](auto load) { return Add(load(a), load(b)); });
}

void AddBias(const KernelCall& call, const StepView&, int, int64_t row, std::byte*) noexcept {
  const float *x = call[1].f32(row), *bias = call[2].f32();
  ForLanes(call[0].cols, call[0].f32(row), [x, bias](auto load) { return Add(load(x), load(bias)); });
}

void Zeros(const KernelCall& call, const StepView&, int, int64_t row, std::byte*) noexcept {
  ForLanes(call[0].cols, call[0].f32(row), [](auto) { return Zero(); });
}

void Mul(const KernelCall& call, const StepView&, int, int64_t row, std::byte*) noexcept {
  const float *a = call[1].f32(row), *b = call[2].f32(row);
  ForLanes(call[0].cols, call[0].f32(row), [a, b](auto load) { return Mul(load(a), load(b)); });
}

void Scale(const KernelCall& call, const StepView&, int, int64_t row, std::byte*) noexcept {
  const float* x = call[1].f32(row);
  const F32 factor = Set(call.params.floats[scalar_params::kValue]);
  ForLanes(call[0].cols, call[0].f32(row), [=](auto load) { return Mul(load(x), factor); });
}

void ScaleColumns(const KernelCall& call, const StepView&, int, int64_t row, std::byte*) noexcept {
  const float *x = call[1].f32(row), *vector = call[2].f32();
  ForLanes(call[0].cols, call[0].f32(row), [x, vector](auto load) { return Mul(load(x), load(vector)); });
}

void ScaleByPosition(const KernelCall& call, const StepView& step, int, int64_t row, std::byte*) noexcept {
  const float* x = call[1].f32(row);
  const F32 factor = Set(*call[2].f32(std::clamp<int64_t>(step.positions[row], 0, call[2].rows - 1)));
  ForLanes(call[0].cols, call[0].f32(row), [=](auto load) { return Mul(load(x), factor); });
}

void SigmoidGate(const KernelCall& call, const StepView&, int, int64_t row, std::byte*) noexcept {
  const float *x = call[1].f32(row), *gate = call[2].f32(row);
  if (call[2].cols == 1) {
    const F32 factor = TimesSigmoid(Set(1.0f), Set(*gate));
    ForLanes(call[0].cols, call[0].f32(row), [=](auto load) { return Mul(load(x), factor); });
  } else {
    ForLanes(call[0].cols, call[0].f32(row), [x, gate](auto load) { return TimesSigmoid(load(x), load(gate)); });
  }
}

void Softcap(const KernelCall& call, const StepView&, int, int64_t row, std::byte*) noexcept {
  const float* x = call[1].f32(row);
  const F32 cap = Set(call.params.floats[scalar_params::kValue]);
  ForLanes(call[0].cols, call[0].f32(row), [=](auto load) { return Mul(Tanh(Div(load(x), cap)), cap); });
}

void Silu(const KernelCall& call, const StepView&, int, int64_t row, std::byte*) noexcept {
  const float* x = call[1].f32(row);
  ForLanes(call[0].cols, call[0].f32(row), [x](auto load) { return SiluLanes(load(x)); });
}

void GeluTanh(const KernelCall& call, const StepView&, int, int64_t row, std::byte*) noexcept {
  const float* x = call[1].f32(row);
  ForLanes(call[0].cols, call[0].f32(row), [x](auto load) { return GeluTanhLanes(load(x)); });
}

void Gelu(const KernelCall& call, const StepView&, int, int64_t row, std::byte*) noexcept {
  const float* x = call[1].f32(row);
  ForLanes(call[0].cols, call[0].f32(row), [x](auto load) { return GeluLanes(load(x)); });
}

void TanhRow(const KernelCall& call, const StepView&, int, int64_t row, std::byte*) noexcept {
  const float* x = call[1].f32(row);
  ForLanes(call[0].cols, call[0].f32(row), [x](auto load) { return Tanh(load(x)); });
}

// gpt-oss: (clamp(up) + 1) * g * sigmoid(alpha * g), g = min(gate, limit). From transformers/models/gpt_oss/modeling_gpt_oss.py
void GatedClamped(const KernelCall& call, const StepView&, int, int64_t row, std::byte*) noexcept {
  const float *gate = call[1].f32(row), *up = gate + call[0].cols;
  const F32 alpha = Set(call.params.floats[clamp_params::kAlpha]), limit = Set(call.params.floats[clamp_params::kLimit]);
  ForLanes(call[0].cols, call[0].f32(row), [=](auto load) {
    const F32 g = Min(load(gate), limit), u = Max(Min(load(up), limit), Sub(Zero(), limit));
    return Mul(Add(u, Set(1.0f)), TimesSigmoid(g, Mul(g, alpha)));
  });
}

void GatedSilu(const KernelCall& call, const StepView&, int, int64_t row, std::byte*) noexcept {
  const float *gate = call[1].f32(row), *up = gate + call[0].cols;
  ForLanes(call[0].cols, call[0].f32(row), [gate, up](auto load) { return Mul(SiluLanes(load(gate)), load(up)); });
}

void GatedGeluTanh(const KernelCall& call, const StepView&, int, int64_t row, std::byte*) noexcept {
  const float *gate = call[1].f32(row), *up = gate + call[0].cols;
  ForLanes(call[0].cols, call[0].f32(row), [gate, up](auto load) { return Mul(GeluTanhLanes(load(gate)), load(up)); });
}

void GatherRows(const KernelCall& call, const StepView& step, int, int64_t row, std::byte*) noexcept {
  const Tensor &out = call[0], &x = call[1];
  const int64_t source = step.output_rows[row];
  if (source < 0 || source >= x.rows) return;   // the runtime's rows are within the plan's; a lying plan must stay harmless
  std::memcpy(out.f32(row), x.f32(source), static_cast<size_t>(out.cols) * sizeof(float));
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
