// Shapes of the ops of encoders and embedders.
#include "graph/infer_rule.h"

namespace intaglio::graph {
namespace {

std::vector<Value> InferLayerNorm(const Rule& rule) {
  const auto& attrs = rule.attrs<NormAttrs>();
  const Shape& x = rule.Matrix(0, "x");
  rule.Check(attrs.eps > 0, "eps is ", attrs.eps, ", expected a positive number");
  rule.Check(attrs.width == x[1] && !attrs.is_segmented(), "width is ", attrs.width, ", expected the ", x[1], " columns of x in one run");
  rule.ExpectVector(1, x[1], "weight"), rule.ExpectVector(2, x[1], "bias");
  return Like(x);
}

std::vector<Value> InferAddPosition(const Rule& rule) {
  (void)rule.attrs<NoAttrs>();
  const Shape& x = rule.Matrix(0, "x");
  rule.ExpectRows(x, "x");
  rule.Step(1, Source::kPositions, "positions");
  const Weight& table = rule.WeightOf(2, Layout::kTable, "table");
  rule.Check(table.shape.size() == 2 && table.shape[0] >= rule.graph().max_context && table.shape[1] == x[1], "table has shape ", table.shape,
             ", expected ", x[1], " columns for at least ", rule.graph().max_context, " positions");
  rule.ExpectVector(3, x[1], "constant");
  return Like(x);
}

std::vector<Value> InferPool(const Rule& rule) {
  (void)rule.attrs<PoolAttrs>();
  const Shape& x = rule.Matrix(0, "x");
  rule.ExpectRows(x, "x");
  rule.Step(1, Source::kPositions, "positions"), rule.Step(2, Source::kOutputRows, "output rows");
  return Like({rule.graph().outputs, x[1]});
}

}  // namespace

std::vector<Value> InferEmbedder(const Rule& rule, Op op) {
  return op == Op::kPool ? InferPool(rule) : op == Op::kLayerNorm ? InferLayerNorm(rule) : InferAddPosition(rule);
}

}  // namespace intaglio::graph
