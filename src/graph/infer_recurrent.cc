// Shapes of the ops of recurrent layers.
#include "graph/infer_rule.h"

namespace intaglio::graph {
namespace {

std::vector<Value> InferCausalConv(const Rule& rule) {
  const auto& attrs = rule.attrs<ConvAttrs>();
  rule.Check(rule.num_inputs() == (attrs.has_bias ? 6u : 5u), "has ", rule.num_inputs(), " operands, its attributes say otherwise");
  const Shape &x = rule.Matrix(1, "x"), &weight = rule.WeightOf(2, Layout::kTable, "weight").shape;
  rule.Check(weight.size() == 2 && weight[0] >= 2 && weight[0] <= kMaxConvTaps && weight[1] == x[1], "weight has shape ", weight, ", expected 2 to ",
             kMaxConvTaps, " taps for the ", x[1], " columns of x");
  rule.ExpectShape(1, {rule.graph().rows, x[1]}, "x");
  rule.ExpectState(x[1], weight[0] - 1);
  rule.ExpectStep(3);
  if (attrs.has_bias) rule.ExpectVector(5, x[1], "bias");
  return Like(x);
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
  rule.ExpectMatrix(1, {rule.graph().rows, attrs.value_cols() + 2 * attrs.key_cols()}, is_delta ? "qkv" : "xbc");
  rule.ExpectMatrix(2, {rule.graph().rows, (is_delta ? 2 : 1) * attrs.value_heads}, is_delta ? "gates" : "dt");
  rule.ExpectVector(3, attrs.value_heads, "A_log");
  rule.ExpectVector(4, attrs.value_heads, "dt_bias");
  if (!is_delta) rule.ExpectVector(5, attrs.value_heads, "D");
  rule.ExpectStep(is_delta ? 5 : 6);
  return Like({rule.graph().rows, attrs.value_cols()});
}

}  // namespace

std::vector<Value> InferRecurrent(const Rule& rule, Op op) {
  switch (op) {
    case Op::kCausalConv:
      return InferCausalConv(rule);
    case Op::kGatedDeltaRule:
    case Op::kSsmScan:
      return InferRecurrence(rule, op);
    default:
      break;
  }
  (void)rule.attrs<NoAttrs>();
  const Shape& x = rule.Matrix(0, "x");
  if (op == Op::kScaleColumns) {
    rule.ExpectVector(1, x[1], "vector");
  } else {
    const bool is_of_rows = rule.Matrix(1, "gate")[1] == 1;
    rule.ExpectMatrix(1, {x[0], is_of_rows ? 1 : x[1]}, "gate");
  }
  return Like(x);
}

}  // namespace intaglio::graph
