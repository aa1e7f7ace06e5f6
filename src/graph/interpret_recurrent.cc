#include "graph/interpret_recurrent.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"

namespace intaglio::graph {
namespace {

struct Row {
  std::vector<float> out;
  std::vector<float> entry;   // what the row's position leaves in the state
};
// A node's operands after its state, activations as one row of them; the entries of the positions before the row, the nearest first.
using Operands = std::span<const std::span<const float>>;
using Entries = std::span<const std::vector<float>>;

double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double Softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::fabs(x))); }

Row CausalConv(const ConvAttrs& attrs, Operands operands, Entries before) {
  const std::span<const float> x = operands[0], weight = operands[1];
  const size_t cols = x.size(), taps = before.size() + 1;
  Row row{.out = std::vector<float>(cols), .entry = {x.begin(), x.end()}};
  for (size_t col = 0; col < cols; ++col) {
    double sum = attrs.has_bias ? operands[4][col] : 0.0;
    for (size_t back = 0; back < taps; ++back) {
      const double input = back == 0 ? x[col] : before[back - 1][col];
      sum += input * weight[(taps - 1 - back) * cols + col];
    }
    row.out[col] = static_cast<float>(sum * Sigmoid(sum));
  }
  return row;
}

// x / sqrt(sum of squares + 1e-6)
std::vector<double> UnitLength(std::span<const float> x) {
  double sum = 0;
  for (float element : x) sum += static_cast<double>(element) * element;
  std::vector<double> unit;
  for (float element : x) unit.push_back(element / std::sqrt(sum + 1e-6));
  return unit;
}

// state = decay * state; state += k (beta * (v - k state)); out = q state / sqrt(key_dim). State: [value head][key_dim][value_dim].
Row GatedDeltaRule(const RecurrenceAttrs& a, Operands operands, const std::vector<float>& before) {
  const auto key_dim = static_cast<size_t>(a.key_dim), value_dim = static_cast<size_t>(a.value_dim), heads = static_cast<size_t>(a.value_heads);
  const std::span<const float> qkv = operands[0], gates = operands[1], a_log = operands[2], dt_bias = operands[3];
  Row row{.out = std::vector<float>(heads * value_dim), .entry = before};
  for (size_t head = 0; head < heads; ++head) {
    const size_t key_head = head / (heads / static_cast<size_t>(a.key_heads));
    const std::vector<double> q = UnitLength(qkv.subspan(key_head * key_dim, key_dim)),
                              k = UnitLength(qkv.subspan(static_cast<size_t>(a.key_cols()) + key_head * key_dim, key_dim));
    const std::span<const float> v = qkv.subspan(static_cast<size_t>(2 * a.key_cols()) + head * value_dim, value_dim);
    const double beta = Sigmoid(gates[head]), decay = std::exp(-std::exp(a_log[head]) * Softplus(gates[heads + head] + dt_bias[head]));
    for (size_t col = 0; col < value_dim; ++col) {
      const auto cell = [&](size_t i) -> float& { return row.entry[(head * key_dim + i) * value_dim + col]; };
      double known = 0, sum = 0;
      for (size_t i = 0; i < key_dim; ++i) known += decay * cell(i) * k[i];
      for (size_t i = 0; i < key_dim; ++i) {
        const double updated = decay * cell(i) + k[i] * beta * (v[col] - known);
        cell(i) = static_cast<float>(updated);
        sum += updated * q[i];
      }
      row.out[head * value_dim + col] = static_cast<float>(sum / std::sqrt(static_cast<double>(key_dim)));
    }
  }
  return row;
}

// state = exp(A dt) * state + dt B x; out = C state + D x, with A = -exp(A_log). State: [value head][key_dim][value_dim].
Row SsmScan(const RecurrenceAttrs& a, Operands operands, const std::vector<float>& before) {
  const auto key_dim = static_cast<size_t>(a.key_dim), value_dim = static_cast<size_t>(a.value_dim), heads = static_cast<size_t>(a.value_heads);
  const std::span<const float> xbc = operands[0], dt = operands[1], a_log = operands[2], dt_bias = operands[3], d = operands[4];
  Row row{.out = std::vector<float>(heads * value_dim), .entry = before};
  for (size_t head = 0; head < heads; ++head) {
    const size_t group = head / (heads / static_cast<size_t>(a.key_heads));
    const std::span<const float> x = xbc.subspan(head * value_dim, value_dim), b = xbc.subspan(heads * value_dim + group * key_dim, key_dim),
                                 c = xbc.subspan(heads * value_dim + static_cast<size_t>(a.key_cols()) + group * key_dim, key_dim);
    const double step = std::clamp(Softplus(dt[head] + dt_bias[head]), static_cast<double>(a.least_step), static_cast<double>(a.most_step));
    const double decay = std::exp(-std::exp(a_log[head]) * step);
    for (size_t col = 0; col < value_dim; ++col) {
      double sum = static_cast<double>(d[head]) * x[col];
      for (size_t i = 0; i < key_dim; ++i) {
        float& cell = row.entry[(head * key_dim + i) * value_dim + col];
        const double updated = decay * cell + step * b[i] * x[col];
        cell = static_cast<float>(updated);
        sum += updated * c[i];
      }
      row.out[head * value_dim + col] = static_cast<float>(sum);
    }
  }
  return row;
}

Row RunRow(const Node& node, Operands operands, Entries before) {
  switch (node.op) {
    case Op::kCausalConv:
      return CausalConv(std::get<ConvAttrs>(node.attrs), operands, before);
    case Op::kGatedDeltaRule:
      return GatedDeltaRule(std::get<RecurrenceAttrs>(node.attrs), operands, before[0]);
    default:
      return SsmScan(std::get<RecurrenceAttrs>(node.attrs), operands, before[0]);
  }
}

std::vector<std::vector<float>> EntriesBefore(const State& state, const StepInputs& step, size_t row, KvState& kv) {
  std::vector<std::vector<float>> before;
  for (int64_t back = 1; back <= state.lookback; ++back) {
    const auto position = static_cast<int32_t>(step.positions[row] - back);
    before.push_back(position < 0 ? std::vector<float>(static_cast<size_t>(state.floats))
                                  : kv[{state.layer, step.slots[row], position}].states[state.name]);
    Require(!before.back().empty(), ErrorCode::kInvalidArgument, "interpreter: slot ", step.slots[row], " has no position ", position, ", row ", row,
            " is at ", step.positions[row]);
  }
  return before;
}

std::vector<float> Gate(const Node& node, std::span<const float> x, std::span<const float> y) {
  std::vector<float> out;
  for (size_t i = 0; i < x.size(); ++i) {
    const double factor = node.op == Op::kScaleColumns ? y[i % y.size()] : Sigmoid(y[i / (x.size() / y.size())]);
    out.push_back(static_cast<float>(x[i] * factor));
  }
  return out;
}

}  // namespace

std::vector<float> InterpretRecurrent(const RecurrentStep& s, std::span<const Operand> operands, KvState& kv) {
  const auto& [graph, node, step] = s;
  if (node.op == Op::kScaleColumns || node.op == Op::kSigmoidGate) return Gate(node, operands[0].f32, operands[1].f32);
  const State& state = graph.states[static_cast<size_t>(graph.value(node.inputs[0]).index)];
  std::vector<float> out;
  for (size_t row = 0; row < step.slots.size(); ++row) {
    std::vector<std::span<const float>> row_operands;
    for (size_t i = 1; i < operands.size(); ++i) {
      const auto& [f32, i32, cols] = operands[i];
      const bool has_rows = graph.value(node.inputs[i]).source == Source::kNode;
      row_operands.push_back(has_rows ? f32.subspan(row * cols, cols) : f32);
    }
    Row result = RunRow(node, row_operands, EntriesBefore(state, step, row, kv));
    out.insert(out.end(), result.out.begin(), result.out.end());
    kv[{state.layer, step.slots[row], step.positions[row]}].states[state.name] = std::move(result.entry);
  }
  return out;
}

}  // namespace intaglio::graph
