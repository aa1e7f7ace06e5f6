// Shapes of the ops of mixtures of experts, and of those that work head by head.
#include "graph/infer_rule.h"

namespace intaglio::graph {
namespace {

std::vector<Value> InferRoute(const Rule& rule) {
  const auto& attrs = rule.attrs<RouteAttrs>();
  const Shape& logits = rule.Matrix(0, "logits");
  rule.ExpectRows(logits, "logits");
  rule.Check(attrs.num_experts >= 1 && attrs.num_experts <= kMaxExperts && logits[1] == attrs.num_experts, "logits have ", logits[1], " columns for ",
             attrs.num_experts, " experts (at most ", kMaxExperts, ")");
  rule.Check(attrs.top_k >= 1 && attrs.top_k <= attrs.num_experts && attrs.top_k <= kMaxTopK, "top_k is ", attrs.top_k, " of ", attrs.num_experts,
             " experts (at most ", kMaxTopK, ")");
  rule.Check(attrs.num_groups >= 1 && attrs.num_experts % attrs.num_groups == 0 && attrs.top_groups >= 1 && attrs.top_groups <= attrs.num_groups &&
                 attrs.top_k <= attrs.num_experts / attrs.num_groups * attrs.top_groups,
             "cannot take ", attrs.top_k, " experts from ", attrs.top_groups, " of ", attrs.num_groups, " groups");
  if (rule.num_inputs() == 2) rule.ExpectVector(1, attrs.num_experts, "correction bias");
  std::vector<Value> outputs = Like({logits[0], attrs.top_k}, DType::kI32);
  outputs.push_back(Like({logits[0], attrs.top_k}).front());
  return outputs;
}

std::vector<Value> InferExpertGroup(const Rule& rule) {
  const auto& attrs = rule.attrs<ExpertAttrs>();
  rule.Check(attrs.capacity >= 0, "capacity is ", attrs.capacity, ", expected 0 or a number of rows");
  std::vector<Value> outputs = Like(Choices(rule, 0, "ids"), DType::kI32);
  outputs.push_back(Like({1, attrs.num_experts + 1}, DType::kI32).front());
  return outputs;
}

std::vector<Value> InferExpertGather(const Rule& rule) {
  const auto& attrs = rule.attrs<ExpertAttrs>();
  rule.Check(rule.num_inputs() == (attrs.has_weights ? 3u : 2u), "has ", rule.num_inputs(), " operands, its attributes say otherwise");
  const Shape &x = rule.Matrix(0, "x"), &positions = Choices(rule, 1, "positions");
  rule.ExpectRows(x, "x");
  if (attrs.has_weights) rule.ExpectShape(2, positions, "weights");
  return Like({positions[0] * positions[1], x[1]});
}

std::vector<Value> InferExpertMatMul(const Rule& rule) {
  const auto& attrs = rule.attrs<ExpertAttrs>();
  rule.Check(rule.num_inputs() == (attrs.has_bias ? 4u : 3u), "has ", rule.num_inputs(), " operands, its attributes say otherwise");
  const Shape& x = rule.Matrix(0, "x");
  const Weight& weight = rule.WeightOf(1, Layout::kExperts, "weight");
  CheckOwnExperts(rule, attrs);
  rule.Check(weight.shape[0] == attrs.end_expert() - attrs.first_expert && weight.shape[2] == x[1], "weight has shape ", weight.shape,
             ", x has shape ", x, ", experts are ", attrs.first_expert, " to ", attrs.end_expert());
  CheckOffsets(rule, 2, attrs.num_experts);
  CheckSegmentsOf(rule, attrs.segments, weight);
  CheckLeaves(rule, attrs.segments, attrs.leaves);
  rule.Check(attrs.leaves == kNumSegments || !attrs.has_bias, "a part of a sum has a bias");
  if (attrs.has_bias) {
    (void)rule.WeightOf(3, Layout::kTable, "bias");
    rule.ExpectShape(3, {weight.shape[0], weight.shape[1]}, "bias");
  }
  return Like({x[0], weight.shape[1]});
}

std::vector<Value> InferExpertCombine(const Rule& rule) {
  const auto& attrs = rule.attrs<ExpertAttrs>();
  rule.Check(rule.num_inputs() == (attrs.has_weights ? 4u : 3u), "has ", rule.num_inputs(), " operands, its attributes say otherwise");
  const Shape &y = rule.Matrix(0, "y"), &positions = Choices(rule, 1, "positions");
  rule.Check(y[0] == positions[0] * positions[1], "y has ", y[0], " rows, positions ", positions);
  rule.ExpectShape(2, positions, "ids");
  if (attrs.has_weights) rule.ExpectShape(3, positions, "weights");
  const int64_t groups = attrs.num_groups;
  rule.Check((groups == 1 || groups == 2 || groups == 4 || groups == kNumSegments) && attrs.first_group >= 0 && attrs.first_group % groups == 0 &&
                 attrs.first_group < kNumSegments,
             "adds ", groups, " groups from ", attrs.first_group, ", which are no subtree of ", kNumSegments);
  const RankPlace& place = rule.graph().place;
  rule.Check(attrs.num_shares == 1 ? attrs.share == 0 : attrs.num_shares == place.tp_degree && attrs.share == place.rank && groups == kNumSegments,
             "makes the rows of share ", attrs.share, " of ", attrs.num_shares, " from ", groups, " groups, which is not what rank ", place.rank,
             " of ", place.tp_degree, " has");
  return Like({positions[0], y[1]});
}

std::vector<Value> InferHeadMatMul(const Rule& rule) {
  const auto& attrs = rule.attrs<HeadAttrs>();
  const Shape& x = rule.Matrix(0, "x");
  const Weight& weight = rule.WeightOf(1, Layout::kExperts, "weight");
  rule.Check(attrs.heads >= 1 && weight.shape[0] == attrs.heads && weight.shape[2] * attrs.heads == x[1], "weight has shape ", weight.shape,
             ", x has shape ", x, " of ", attrs.heads, " heads");
  CheckSegmentsOf(rule, attrs.segments, weight);
  return Like({x[0], attrs.heads * weight.shape[1]});
}

std::vector<Value> InferHeadConcat(const Rule& rule) {
  const auto& attrs = rule.attrs<HeadAttrs>();
  const int64_t heads = attrs.heads;
  const Shape &a = rule.Matrix(0, "a"), &b = rule.Matrix(1, "b");
  rule.Check(heads >= 1 && a[0] == b[0] && a[1] % heads == 0 && (attrs.is_shared || b[1] % heads == 0), "a has shape ", a, ", b ", b, ", for ", heads,
             " heads");
  return Like({a[0], a[1] + (attrs.is_shared ? heads * b[1] : b[1])});
}

}  // namespace

const Shape& Choices(const Rule& rule, size_t i, std::string_view what) {
  rule.Check(rule.input(i).dtype == DType::kI32 && rule.input(i).shape.size() == 2, what, " are not an i32 matrix");
  rule.ExpectRows(rule.input(i).shape, what);
  return rule.input(i).shape;
}

void CheckOffsets(const Rule& rule, size_t i, int64_t num_experts) {
  rule.Check(rule.input(i).dtype == DType::kI32, "offsets are not i32");
  rule.ExpectShape(i, {1, num_experts + 1}, "offsets");
}

void CheckOwnExperts(const Rule& rule, const ExpertAttrs& attrs) {
  rule.Check(attrs.first_expert >= 0 && attrs.first_expert <= attrs.end_expert() && attrs.end_expert() <= attrs.num_experts, "has experts ",
             attrs.first_expert, " to ", attrs.end_expert(), " of ", attrs.num_experts);
}

std::vector<Value> InferExperts(const Rule& rule, Op op) {
  switch (op) {
    case Op::kRoute:
      return InferRoute(rule);
    case Op::kExpertGroup:
      return InferExpertGroup(rule);
    case Op::kExpertGather:
      return InferExpertGather(rule);
    case Op::kExpertMatMul:
      return InferExpertMatMul(rule);
    default:
      return InferExpertCombine(rule);
  }
}

std::vector<Value> InferHeads(const Rule& rule, Op op) { return op == Op::kHeadMatMul ? InferHeadMatMul(rule) : InferHeadConcat(rule); }

}  // namespace intaglio::graph
