// Shapes of the ops of ranks that share a model.
#include "graph/infer_rule.h"

namespace intaglio::graph {
namespace {

std::vector<Value> InferAllReduce(const Rule& rule) {
  (void)rule.attrs<NoAttrs>();
  rule.Check(!rule.graph().place.is_alone(), "in a graph of one rank");
  return Like(rule.Matrix(0, "x"));
}

std::vector<Value> InferAllGather(const Rule& rule) {
  const Segments& borders = rule.attrs<GatherAttrs>().borders;
  const RankPlace& place = rule.graph().place;
  rule.Check(!place.is_alone(), "in a graph of one rank");
  const int64_t cols = borders.back();
  rule.Check(cols > 0, "gathers no columns");
  CheckSegments(rule, borders, cols);
  const auto rank = static_cast<size_t>(place.rank), end = static_cast<size_t>(place.tp_degree);
  rule.Check(borders[end] == cols, "the ", end, " ranks have ", borders[end], " of ", cols, " columns");
  const int64_t part = borders[rank + 1] - borders[rank];
  rule.Check(rule.num_inputs() == (part == 0 ? 0u : 1u), "has ", rule.num_inputs(), " operands for ", part, " columns");
  if (part == 0) return Like({rule.graph().rows, cols});
  const Shape& x = rule.Matrix(0, "x");
  rule.Check(x[1] == part, "x has ", x[1], " columns, its rank ", part);
  return Like({x[0], cols});
}

std::vector<Value> InferExpertExchange(const Rule& rule) {
  const auto& attrs = rule.attrs<ExchangeAttrs>();
  const RankPlace& place = rule.graph().place;
  rule.Check(!place.is_alone(), "in a graph of one rank");
  const int64_t num_experts = attrs.experts.back();
  rule.Check(num_experts >= 1 && num_experts <= kMaxExperts && attrs.cols > 0, "exchanges ", attrs.cols, " columns of ", num_experts,
             " experts (at most ", kMaxExperts, ")");
  CheckSegments(rule, attrs.experts, num_experts);
  const auto rank = static_cast<size_t>(place.rank), end = static_cast<size_t>(place.tp_degree);
  rule.Check(attrs.experts[end] == num_experts, "the ", end, " ranks have ", attrs.experts[end], " of ", num_experts, " experts");
  const Shape& positions = Choices(rule, 0, "positions");
  CheckOffsets(rule, 1, num_experts);
  const int64_t own = attrs.experts[rank + 1] - attrs.experts[rank];
  rule.Check(rule.num_inputs() == (own == 0 ? 2u : 3u), "has ", rule.num_inputs(), " operands for ", own, " experts");
  const Shape out{positions[0] * positions[1], attrs.cols};
  if (own > 0) rule.ExpectMatrix(2, out, "y");
  return Like(out);
}

std::vector<Value> InferRowGather(const Rule& rule) {
  (void)rule.attrs<NoAttrs>();
  rule.Check(!rule.graph().place.is_alone(), "in a graph of one rank");
  const Shape& x = rule.Matrix(0, "x");
  rule.ExpectRows(x, "x");
  return Like(x);
}

std::vector<Value> InferAddBias(const Rule& rule) {
  (void)rule.attrs<NoAttrs>();
  const Shape& x = rule.Matrix(0, "x");
  rule.ExpectVector(1, x[1], "bias");
  return Like(x);
}

std::vector<Value> InferZeros(const Rule& rule) {
  const auto& attrs = rule.attrs<ZerosAttrs>();
  rule.Check(attrs.rows > 0 && attrs.rows % rule.graph().rows == 0 && attrs.cols > 0, "makes [", attrs.rows, ", ", attrs.cols, "] of the ",
             rule.graph().rows, " rows of the phase");
  return Like({attrs.rows, attrs.cols});
}

std::vector<Value> InferSquareSum(const Rule& rule) {
  const auto& attrs = rule.attrs<SquareSumAttrs>();
  const Shape& x = rule.Matrix(0, "x");
  rule.Check(attrs.segments.front() >= 0 && attrs.segments.back() <= x[1], "segments ", attrs.segments.front(), " to ", attrs.segments.back(),
             " are not within the ", x[1], " columns of x");
  CheckAscending(rule, attrs.segments);
  CheckLeaves(rule, attrs.segments, attrs.leaves);
  return Like({x[0], 1});
}

std::vector<Value> InferNormBy(const Rule& rule) {
  const auto& attrs = rule.attrs<NormAttrs>();
  const Shape& x = rule.Matrix(0, "x");
  rule.Check(attrs.eps > 0, "eps is ", attrs.eps, ", expected a positive number");
  // It may be less than x has, where x has copies of some columns.
  rule.Check(attrs.width >= 1 && !attrs.is_segmented(), "width is ", attrs.width, ", expected that of one run of columns");
  rule.ExpectMatrix(1, {x[0], 1}, "sums");
  rule.ExpectVector(2, x[1], "weight");
  return Like(x);
}

// ExpertIsolate and ExpertBias.
std::vector<Value> InferExpertRows(const Rule& rule, Op op) {
  const auto& attrs = rule.attrs<ExpertAttrs>();
  const Shape& y = rule.Matrix(0, "y");
  rule.Check(y[0] % rule.graph().rows == 0, "y has ", y[0], " rows, the phase ", rule.graph().rows);
  rule.Check(attrs.num_experts >= 1 && attrs.num_experts <= kMaxExperts, "has ", attrs.num_experts, " experts (at most ", kMaxExperts, ")");
  CheckOffsets(rule, 1, attrs.num_experts);
  if (op == Op::kExpertIsolate) {
    CheckOwnExperts(rule, attrs);
  } else {
    (void)rule.WeightOf(2, Layout::kTable, "bias");
    rule.ExpectShape(2, {attrs.num_experts, y[1]}, "bias");
  }
  return Like(y);
}

}  // namespace

std::vector<Value> InferRanks(const Rule& rule, Op op) {
  switch (op) {
    case Op::kAllReduce:
      return InferAllReduce(rule);
    case Op::kAllGather:
      return InferAllGather(rule);
    case Op::kExpertExchange:
      return InferExpertExchange(rule);
    case Op::kRowGather:
      return InferRowGather(rule);
    case Op::kAddBias:
      return InferAddBias(rule);
    case Op::kZeros:
      return InferZeros(rule);
    case Op::kSquareSum:
      return InferSquareSum(rule);
    case Op::kNormBy:
      return InferNormBy(rule);
    default:
      return InferExpertRows(rule, op);
  }
}

}  // namespace intaglio::graph
