// Layers that carry a state from token to token. A task walks the rows of one sequence in order, on columns that no other task touches, so
// that a row's result is made of the rows before it by one chain of operations, wherever steps are cut. Only the last rows of a step leave
// their entries in the state; those between live in scratch.
#include <algorithm>

#include "kernels/isa/activations.h"
#include "kernels/isa/norm.h"
#include "kernels/params.h"
#include "kernels/state_rows.h"

namespace intaglio::kernels::INTAGLIO_ISA {
namespace {

INTAGLIO_INLINE F32 LoadUpTo(const float* p, int n) { return n == kLanes ? Load(p) : LoadFirst(p, n); }
INTAGLIO_INLINE void StoreUpTo(float* p, F32 x, int n) {
  if (n == kLanes) {
    Store(p, x);
  } else {
    StoreFirst(p, x, n);
  }
}

// What the row at a position leaves.
INTAGLIO_INLINE float* Entry(const StateRows& rows, int64_t position) { return rows.slot + position % rows.entries * rows.stride; }
// Whether a row is among the last of its sequence, whose entries later steps may read.
INTAGLIO_INLINE bool IsKept(const StateRows& rows, int64_t row) { return row >= rows.first_row + rows.num_rows - rows.entries; }

// Where the inputs of a row's convolution are: rows of this step, else entries of the state. Returns how many there are; the last is the row.
int64_t ConvInputs(const KernelCall& call, const StateRows& rows, int64_t row, const float** inputs) {
  const int64_t taps = call[3].rows, position = rows.position + row - rows.first_row, count = std::min(taps, position + 1);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t source = position - count + 1 + i;
    inputs[i] = source >= rows.position ? call[2].f32(rows.first_row + source - rows.position) : Entry(rows, source);
  }
  return count;
}

// 16 columns of one value head in one sequence.
struct StateColumns {
  StateRows rows;
  int64_t head = 0, key_head = 0, first_column = 0;   // the last within the value head
  int lanes = 0;
  int64_t keys = 0, padded_keys = 0, offset = 0;      // the last of the columns within an entry
};

StateColumns FindStateColumns(const KernelCall& call, const StepView& step, int64_t task) {
  using namespace recurrence_params;
  const auto& ints = call.params.ints;
  const int64_t tasks = RecurrenceTasksOfSequence(call), blocks = tasks / ints[kValueHeads], unit = task % tasks;
  const int64_t head = unit / blocks, first_column = unit % blocks * kLanes, keys = ints[kKeyDim];
  const int64_t padded_keys = (keys + kKeyUnit - 1) / kKeyUnit * kKeyUnit;
  return {.rows = FindStateRows(call, step, task / tasks),
          .head = head,
          .key_head = head / (ints[kValueHeads] / ints[kKeyHeads]),
          .first_column = first_column,
          .lanes = LanesLeft(first_column, ints[kValueDim]),
          .keys = keys,
          .padded_keys = padded_keys,
          .offset = unit * padded_keys * kLanes};
}

// The state [keys][16] that a row finds, and where it leaves its own; they may be the same.
struct StateStep {
  const float* before = nullptr;
  float* after = nullptr;
  int64_t keys = 0;   // whole units
};

// Calls update(row, StateStep) for each row.
template <typename Update>
INTAGLIO_INLINE void WalkRows(const StateColumns& columns, float* between, Update update) {
  const StateRows& rows = columns.rows;
  const float* before = nullptr;
  for (int64_t i = 0; i < rows.num_rows; ++i) {
    const int64_t row = rows.first_row + i, position = rows.position + i;
    float* after = IsKept(rows, row) ? Entry(rows, position) + columns.offset : between;
    if (position == 0) {
      std::fill_n(after, columns.padded_keys * kLanes, 0.0f);
      before = after;
    } else if (i == 0) {
      before = Entry(rows, position - 1) + columns.offset;
    }
    update(row, StateStep{.before = before, .after = after, .keys = columns.padded_keys});
    before = after;
  }
}

// x * factor, and zeros up to whole units.
void CopyKeys(const float* x, float factor, const StateColumns& columns, float* out) {
  for (int64_t i = 0; i < columns.keys; i += kLanes) {
    const int n = LanesLeft(i, columns.keys);
    StoreFirst(out + i, Mul(LoadFirst(x + i, n), Set(factor)), n);
  }
  std::fill(out + columns.keys, out + columns.padded_keys, 0.0f);
}

// 1 / sqrt(sum of squares + 1e-6), as l2norm of modeling_qwen3_next.py.
INTAGLIO_INLINE float InverseLength(const float* x, int64_t n) { return 1.0f / std::sqrt(SumOfSquares(x, n) + 1e-6f); }

INTAGLIO_INLINE F32 SumOfFour(const F32 (&x)[kKeyUnit]) { return Add(Add(x[0], x[1]), Add(x[2], x[3])); }

// How much of a state is left after a step of length `step`: exp(-exp(A_log) * step).
INTAGLIO_INLINE F32 Decay(float a_log, F32 step) { return Exp(Mul(Sub(Zero(), Exp(Set(a_log))), step)); }

struct DeltaGates {
  F32 decay, beta;
};

// S = decay S; S += k (beta (v - k S)); returns q S.
INTAGLIO_INLINE F32 DeltaStep(const StateStep& state, const float* q, const float* k, F32 v, const DeltaGates& gates) {
  F32 known[kKeyUnit] = {Zero(), Zero(), Zero(), Zero()}, sums[kKeyUnit] = {Zero(), Zero(), Zero(), Zero()};
  for (int64_t i = 0; i < state.keys; i += kKeyUnit) {
    INTAGLIO_UNROLL for (int64_t j = 0; j < kKeyUnit; ++j) {
      const F32 s = Mul(Load(state.before + (i + j) * kLanes), gates.decay);
      Store(state.after + (i + j) * kLanes, s);
      known[j] = Fma(s, Set(k[i + j]), known[j]);
    }
  }
  const F32 change = Mul(Sub(v, SumOfFour(known)), gates.beta);
  for (int64_t i = 0; i < state.keys; i += kKeyUnit) {
    INTAGLIO_UNROLL for (int64_t j = 0; j < kKeyUnit; ++j) {
      const F32 s = Fma(Set(k[i + j]), change, Load(state.after + (i + j) * kLanes));
      Store(state.after + (i + j) * kLanes, s);
      sums[j] = Fma(s, Set(q[i + j]), sums[j]);
    }
  }
  return SumOfFour(sums);
}

// S = decay S + b input; returns c S.
INTAGLIO_INLINE F32 ScanStep(const StateStep& state, const float* b, const float* c, F32 input, F32 decay) {
  F32 sums[kKeyUnit] = {Zero(), Zero(), Zero(), Zero()};
  for (int64_t i = 0; i < state.keys; i += kKeyUnit) {
    INTAGLIO_UNROLL for (int64_t j = 0; j < kKeyUnit; ++j) {
      const F32 s = Fma(Set(b[i + j]), input, Mul(Load(state.before + (i + j) * kLanes), decay));
      Store(state.after + (i + j) * kLanes, s);
      sums[j] = Fma(s, Set(c[i + j]), sums[j]);
    }
  }
  return SumOfFour(sums);
}

}  // namespace

void CausalConv(const KernelCall& call, const StepView& step, int, int64_t task, std::byte*) noexcept {
  const Tensor &out = call[0], &x = call[2], &weight = call[3], &bias = call[4];
  const int64_t tasks = ConvTasksOfSequence(call), begin = task % tasks * kConvColumns, end = std::min(begin + kConvColumns, out.cols);
  const StateRows rows = FindStateRows(call, step, task / tasks);
  for (int64_t row = rows.first_row; row < rows.first_row + rows.num_rows; ++row) {
    const float* inputs[recurrence_limits::kMaxTaps];
    const int64_t count = ConvInputs(call, rows, row, inputs);
    for (int64_t col = begin; col < end; col += kLanes) {
      const int n = LanesLeft(col, end);
      F32 sum = bias.is_present() ? LoadUpTo(bias.f32() + col, n) : Zero();
      for (int64_t i = 0; i < count; ++i) sum = Fma(LoadUpTo(inputs[i] + col, n), LoadUpTo(weight.f32(weight.rows - count + i) + col, n), sum);
      StoreUpTo(out.f32(row) + col, SiluLanes(sum), n);
    }
  }
  // Entries that this step replaces were read by its first rows.
  for (int64_t row = rows.first_row; row < rows.first_row + rows.num_rows; ++row) {
    if (IsKept(rows, row)) std::copy(x.f32(row) + begin, x.f32(row) + end, Entry(rows, rows.position + row - rows.first_row) + begin);
  }
}

void GatedDeltaRule(const KernelCall& call, const StepView& step, int, int64_t task, std::byte* scratch) noexcept {
  using namespace recurrence_params;
  const StateColumns columns = FindStateColumns(call, step, task);
  const int64_t keys = columns.keys, key_cols = call.params.ints[kKeyHeads] * keys, value_heads = call.params.ints[kValueHeads];
  const int64_t column = columns.head * call.params.ints[kValueDim] + columns.first_column;
  const float a_log = call[4].f32()[columns.head], dt_bias = call[5].f32()[columns.head], scale = 1.0f / std::sqrt(static_cast<float>(keys));
  float *between = reinterpret_cast<float*>(scratch), *q = between + columns.padded_keys * kLanes, *k = q + columns.padded_keys;
  WalkRows(columns, between, [&](int64_t row, const StateStep& state) {
    const float *queries = call[2].f32(row) + columns.key_head * keys, *all_keys = queries + key_cols;
    CopyKeys(queries, InverseLength(queries, keys) * scale, columns, q);
    CopyKeys(all_keys, InverseLength(all_keys, keys), columns, k);
    const F32 v = LoadUpTo(call[2].f32(row) + 2 * key_cols + column, columns.lanes);
    const float *beta = call[3].f32(row) + columns.head, *alpha = beta + value_heads;
    const DeltaGates gates{.decay = Decay(a_log, Softplus(Set(*alpha + dt_bias))), .beta = TimesSigmoid(Set(1.0f), Set(*beta))};
    StoreUpTo(call[0].f32(row) + column, DeltaStep(state, q, k, v, gates), columns.lanes);
  });
}

void SsmScan(const KernelCall& call, const StepView& step, int, int64_t task, std::byte* scratch) noexcept {
  using namespace recurrence_params;
  const StateColumns columns = FindStateColumns(call, step, task);
  const int64_t keys = columns.keys, key_cols = call.params.ints[kKeyHeads] * keys, value_cols = call[0].cols;
  const int64_t column = columns.head * call.params.ints[kValueDim] + columns.first_column;
  const float a_log = call[4].f32()[columns.head], dt_bias = call[5].f32()[columns.head];
  const F32 d = Set(call[6].f32()[columns.head]), least = Set(call.params.floats[kLeastStep]), most = Set(call.params.floats[kMostStep]);
  float *between = reinterpret_cast<float*>(scratch), *b = between + columns.padded_keys * kLanes, *c = b + columns.padded_keys;
  WalkRows(columns, between, [&](int64_t row, const StateStep& state) {
    const float* xbc = call[2].f32(row);
    CopyKeys(xbc + value_cols + columns.key_head * keys, 1.0f, columns, b);
    CopyKeys(xbc + value_cols + key_cols + columns.key_head * keys, 1.0f, columns, c);
    const F32 x = LoadUpTo(xbc + column, columns.lanes);
    const F32 length = Min(Max(Softplus(Set(call[3].f32(row)[columns.head] + dt_bias)), least), most);
    const F32 y = ScanStep(state, b, c, Mul(length, x), Decay(a_log, length));
    StoreUpTo(call[0].f32(row) + column, Fma(d, x, y), columns.lanes);
  });
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
