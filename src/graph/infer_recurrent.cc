#include "graph/infer_recurrent.h"

#include <stdexcept>

#include "base/strings.h"

namespace intaglio::graph {
namespace {

class Rule {
 public:
  Rule(const Graph& graph, const Node& node) : graph_(graph), node_(node) {}

  template <typename... Parts>
  void Check(bool is_ok, const Parts&... message) const {
    if (!is_ok) throw std::logic_error(StrCat(Name(node_.op), " in ", node_.scope.empty() ? "the graph" : node_.scope, ": ", message...));
  }
  [[nodiscard]] const Value& input(size_t i) const { return graph_.value(node_.inputs[i]); }
  [[nodiscard]] size_t num_inputs() const { return node_.inputs.size(); }
  [[nodiscard]] int64_t rows() const { return graph_.rows; }
  template <typename T>
  [[nodiscard]] const T& attrs() const {
    Check(std::holds_alternative<T>(node_.attrs), "has attributes of another op");
    return std::get<T>(node_.attrs);
  }
  // An activation: f32 [rows, cols].
  [[nodiscard]] const Shape& Matrix(size_t i, std::string_view what) const {
    Check(input(i).dtype == DType::kF32 && input(i).shape.size() == 2, what, " is ", Name(input(i).dtype), ' ', input(i).shape,
          ", expected an f32 matrix");
    return input(i).shape;
  }
  void ExpectMatrix(size_t i, const Shape& expected, std::string_view what) const {
    Check(Matrix(i, what) == expected, what, " has shape ", input(i).shape, ", expected ", expected);
  }
  const Shape& WeightShape(size_t i, Layout layout, std::string_view what) const {
    Check(input(i).source == Source::kWeight, what, " is not a weight");
    const Weight& weight = graph_.weights[static_cast<size_t>(input(i).index)];
    Check(weight.layout == layout, what, ' ', weight.name, " has another layout than this op reads");
    return weight.shape;
  }
  void ExpectVector(size_t i, int64_t size, std::string_view what) const {
    Check(WeightShape(i, Layout::kVector, what) == Shape{size}, what, " has shape ", input(i).shape, ", expected [", size, ']');
  }
  void ExpectState(int64_t floats, int64_t lookback) const {
    Check(input(0).source == Source::kState, "operand 0 is not a state");
    const State& state = graph_.states[static_cast<size_t>(input(0).index)];
    Check(state.floats == floats && state.lookback == lookback, "state ", state.name, " has ", state.floats, " floats and a lookback of ",
          state.lookback, ", expected ", floats, " and ", lookback);
  }
  void ExpectStep(size_t i) const {
    Check(input(i).source == Source::kSlots && input(i + 1).source == Source::kPositions, "operands ", i, " and ", i + 1,
          " are not the step's slots and positions");
  }
  [[nodiscard]] std::vector<Value> Rows(int64_t cols) const { return {Value{.shape = {graph_.rows, cols}, .label = {}}}; }

 private:
  const Graph& graph_;
  const Node& node_;
};

std::vector<Value> InferCausalConv(const Rule& rule) {
  const auto& attrs = rule.attrs<ConvAttrs>();
  rule.Check(rule.num_inputs() == (attrs.has_bias ? 6u : 5u), "has ", rule.num_inputs(), " operands, its attributes say otherwise");
  const Shape &x = rule.Matrix(1, "x"), &weight = rule.WeightShape(2, Layout::kTable, "weight");
  rule.Check(weight.size() == 2 && weight[0] >= 2 && weight[0] <= kMaxConvTaps && weight[1] == x[1], "weight has shape ", weight, ", expected 2 to ",
             kMaxConvTaps, " taps for the ", x[1], " columns of x");
  rule.ExpectMatrix(1, {rule.rows(), x[1]}, "x");
  rule.ExpectState(x[1], weight[0] - 1);
  rule.ExpectStep(3);
  if (attrs.has_bias) rule.ExpectVector(5, x[1], "bias");
  return rule.Rows(x[1]);
}

// GatedDeltaRule and SsmScan.
std::vector<Value> InferRecurrence(const Rule& rule, Op op) {
  const auto& attrs = rule.attrs<RecurrenceAttrs>();
  rule.Check(attrs.key_heads > 0 && attrs.value_heads > 0 && attrs.value_heads % attrs.key_heads == 0, attrs.value_heads,
             " value heads cannot share ", attrs.key_heads, " key heads");
  rule.Check(attrs.key_dim > 0 && attrs.key_dim <= kMaxStateDim && attrs.value_dim > 0 && attrs.value_dim <= kMaxStateDim, "key_dim is ",
             attrs.key_dim, " and value_dim ", attrs.value_dim, ", expected 1 to ", kMaxStateDim);
  rule.Check(attrs.least_step >= 0 && attrs.most_step >= attrs.least_step, "steps are bounded by ", attrs.least_step, " and ", attrs.most_step);
  const bool is_delta = op == Op::kGatedDeltaRule;
  rule.ExpectState(attrs.state_floats(), 1);
  rule.ExpectMatrix(1, {rule.rows(), attrs.value_cols() + 2 * attrs.key_cols()}, is_delta ? "qkv" : "xbc");
  rule.ExpectMatrix(2, {rule.rows(), (is_delta ? 2 : 1) * attrs.value_heads}, is_delta ? "gates" : "dt");
  rule.ExpectVector(3, attrs.value_heads, "A_log");
  rule.ExpectVector(4, attrs.value_heads, "dt_bias");
  if (!is_delta) rule.ExpectVector(5, attrs.value_heads, "D");
  rule.ExpectStep(is_delta ? 5 : 6);
  return rule.Rows(attrs.value_cols());
}

}  // namespace

std::vector<Value> InferRecurrent(const Graph& graph, const Node& node) {
  const Rule rule(graph, node);
  switch (node.op) {
    case Op::kCausalConv:
      return InferCausalConv(rule);
    case Op::kGatedDeltaRule:
    case Op::kSsmScan:
      return InferRecurrence(rule, node.op);
    default:
      break;
  }
  (void)rule.attrs<NoAttrs>();
  const Shape& x = rule.Matrix(0, "x");
  if (node.op == Op::kScaleColumns) {
    rule.ExpectVector(1, x[1], "vector");
  } else {
    const bool is_of_rows = rule.Matrix(1, "gate")[1] == 1;
    rule.ExpectMatrix(1, {x[0], is_of_rows ? 1 : x[1]}, "gate");
  }
  return {Value{.shape = x, .label = {}}};
}

}  // namespace intaglio::graph
