#include "graph/infer.h"

#include <algorithm>

#include "graph/infer_rule.h"
#include "graph/op_table.h"

namespace intaglio::graph {
namespace {

struct Arity {
  size_t least, most;
};

constexpr std::array kArities{
#define INTAGLIO_OP(name, text, least, most) Arity{least, most},
#include "graph/ops.inc"
#undef INTAGLIO_OP
};

std::vector<Value> InferEmbedding(const Rule& rule) {
  const int64_t first_id = rule.attrs<EmbeddingAttrs>().first_id;
  rule.Check(first_id >= 0 && (first_id == 0 || !rule.graph().place.is_alone()), "first_id is ", first_id, ", which no rank's table begins with");
  rule.Step(0, Source::kTokens, "tokens");
  const Weight& table = rule.WeightOf(1, Layout::kMatmul, "table");
  rule.Check(table.shape.size() == 2, "table has shape ", table.shape, ", expected two dimensions");
  return Like({rule.graph().rows, table.shape[1]});
}

std::vector<Value> InferMatMul(const Rule& rule) {
  const size_t num_inputs = rule.num_inputs();
  const auto& attrs = rule.attrs<MatMulAttrs>();
  const size_t expected = 2 + (attrs.has_bias ? 1 : 0) + (attrs.has_residual ? 1 : 0);
  rule.Check(num_inputs == expected, "has ", num_inputs, " operands, its attributes say ", expected);
  const Shape& x = rule.Matrix(0, "x");
  const Weight& weight = rule.WeightOf(1, Layout::kMatmul, "weight");
  rule.Check(weight.shape.size() == 2 && weight.shape[1] == x[1], "weight has shape ", weight.shape, ", x has shape ", x);
  CheckSegmentsOf(rule, attrs.segments, weight);
  CheckLeaves(rule, attrs.segments, attrs.leaves);
  rule.Check(attrs.leaves == kNumSegments || (!attrs.has_bias && !attrs.has_residual), "a part of a sum has a bias or a residual");
  const Shape out{x[0], weight.shape[0]};
  if (attrs.has_bias) rule.ExpectVector(2, out[1], "bias");
  if (attrs.has_residual) rule.ExpectMatrix(num_inputs - 1, out, "residual");
  return Like(out);
}

std::vector<Value> InferRmsNorm(const Rule& rule) {
  const auto& attrs = rule.attrs<NormAttrs>();
  const Shape& x = rule.Matrix(0, "x");
  rule.Check(attrs.eps > 0, "eps is ", attrs.eps, ", expected a positive number");
  rule.Check(attrs.width > 0 && x[1] % attrs.width == 0, "width ", attrs.width, " does not divide the ", x[1], " columns of x");
  rule.ExpectVector(1, attrs.width, "weight");
  if (attrs.is_segmented()) CheckSegments(rule, attrs.segments, attrs.width);
  return Like(x);
}

std::vector<Value> InferRotary(const Rule& rule) {
  const int64_t first_length = rule.attrs<RotaryAttrs>().first_length;
  rule.Step(0, Source::kPositions, "positions");
  rule.Step(1, Source::kRopeRows, "rope_rows");
  rule.Check(rule.graph().rope_follows_length, "needs rope_rows that are lengths");
  const Weight& table = rule.WeightOf(2, Layout::kTable, "frequencies");
  rule.Check(first_length >= 1 && table.shape.size() == 2, "frequencies have shape ", table.shape, " from a length of ", first_length);
  rule.ExpectShape(2, {std::max<int64_t>(1, rule.graph().max_context - first_length + 1), table.shape[1]}, "frequencies");
  return Like({rule.graph().rows, 2 * table.shape[1]});
}

// Rope and NormRope.
std::vector<Value> InferRope(const Rule& rule, Op op) {
  const auto& attrs = rule.attrs<RopeAttrs>();
  const Shape& x = rule.Matrix(0, "x");
  rule.ExpectRows(x, "x");
  const bool has_rope_rows = rule.input(1).source == Source::kRopeRows;
  rule.Check(has_rope_rows || rule.input(1).source == Source::kPositions, "operand 1 is not the step's positions, nor its rope_rows");
  rule.Check(attrs.head_dim > 0 && x[1] % attrs.head_dim == 0, "head_dim ", attrs.head_dim, " does not divide the ", x[1], " columns of x");
  rule.Check(attrs.rotary_dim > 0 && attrs.rotary_dim % 2 == 0 && attrs.rotary_dim <= attrs.head_dim, "rotary_dim ", attrs.rotary_dim,
             " is not an even number up to head_dim ", attrs.head_dim);
  const bool is_per_row = rule.input(2).source == Source::kNode;
  if (!is_per_row) (void)rule.WeightOf(2, Layout::kTable, "table");
  const int64_t positions = rule.graph().max_context + (has_rope_rows ? rule.graph().rope_switch : 0);
  rule.ExpectShape(2, {is_per_row ? rule.graph().rows : positions, attrs.rotary_dim}, "table");
  if (op == Op::kNormRope) {
    rule.Check(attrs.eps > 0, "eps is ", attrs.eps, ", expected a positive number");
    rule.ExpectVector(3, attrs.head_dim, "norm weight");
  }
  return Like(x);
}

std::vector<Value> InferScaleByPosition(const Rule& rule) {
  (void)rule.attrs<NoAttrs>();
  const Shape& x = rule.Matrix(0, "x");
  rule.ExpectRows(x, "x");
  rule.Step(1, Source::kPositions, "positions");
  (void)rule.WeightOf(2, Layout::kTable, "table");
  rule.ExpectShape(2, {rule.graph().max_context, 1}, "table");
  return Like(x);
}

std::vector<Value> InferSlice(const Rule& rule) {
  const auto& attrs = rule.attrs<SliceAttrs>();
  const Shape& x = rule.Matrix(0, "x");
  rule.Check(attrs.begin >= 0 && attrs.size > 0 && attrs.begin <= x[1] && attrs.size <= x[1] - attrs.begin, "columns [", attrs.begin, ", ",
             attrs.begin + attrs.size, ") are not within the ", x[1], " columns of x");
  return Like({x[0], attrs.size});
}

std::vector<Value> InferKvUpdate(const Rule& rule) {
  (void)rule.attrs<NoAttrs>();
  const KvCache& cache = rule.Cache(0);
  (void)rule.Matrix(1, "k"), (void)rule.Matrix(2, "v");
  rule.ExpectShape(1, {rule.graph().rows, cache.kv_heads * cache.head_dim}, "k");
  rule.ExpectShape(2, {rule.graph().rows, cache.kv_heads * cache.value_dim()}, "v");
  rule.Step(3, Source::kSlots, "slots");
  rule.Step(4, Source::kPositions, "positions");
  return {Value{.shape = {}, .index = rule.input(0).index, .label = {}}};
}

std::vector<Value> InferAttention(const Rule& rule) {
  const size_t num_inputs = rule.num_inputs();
  const auto& attrs = rule.attrs<AttentionAttrs>();
  const KvCache& cache = rule.Cache(1);
  rule.Check(rule.input(1).source == Source::kNode, "reads the KV cache before this step's keys are in it");
  rule.Check(
      attrs.kv_heads == cache.kv_heads && attrs.head_dim == cache.head_dim && attrs.value_dim() == cache.value_dim() && attrs.reach() == cache.window,
      "kv_heads, head_dim, v_dim, reach are ", attrs.kv_heads, ", ", attrs.head_dim, ", ", attrs.value_dim(), ", ", attrs.reach(),
      ", those of the cache ", cache.kv_heads, ", ", cache.head_dim, ", ", cache.value_dim(), ", ", cache.window);
  rule.Check(attrs.window >= 0 && attrs.chunk >= 0 && (attrs.window == 0 || attrs.chunk == 0), "window is ", attrs.window, " and chunk ", attrs.chunk,
             ", expected at most one of them");
  rule.Check(!attrs.sees_both_ways || attrs.chunk == 0, "sees both ways within chunks of ", attrs.chunk, ", which nothing does");
  rule.Check(attrs.softcap >= 0, "softcap is ", attrs.softcap, ", expected 0 or a positive number");
  rule.Check(num_inputs == (attrs.has_sinks ? 5u : 4u), "has ", num_inputs, " operands, its attributes say otherwise");
  rule.Check(attrs.heads > 0 && attrs.heads % attrs.kv_heads == 0, attrs.heads, " query heads cannot share ", attrs.kv_heads, " KV heads");
  rule.Check(attrs.scale > 0, "scale is ", attrs.scale, ", expected a positive number");
  const Shape& q = rule.Matrix(0, "q");
  rule.ExpectShape(0, {rule.graph().rows, attrs.heads * attrs.head_dim}, "q");
  rule.Step(2, Source::kSlots, "slots");
  rule.Step(3, Source::kPositions, "positions");
  if (attrs.has_sinks) rule.ExpectVector(4, attrs.heads, "sinks");
  return Like({q[0], attrs.heads * attrs.value_dim()});
}

std::vector<Value> InferPair(const Rule& rule) {
  (void)rule.attrs<NoAttrs>();
  const Shape& x = rule.Matrix(0, "left operand");
  rule.ExpectMatrix(1, x, "right operand");
  return Like(x);
}

std::vector<Value> InferScalar(const Rule& rule) {
  rule.Check(rule.attrs<ScalarAttrs>().value > 0, "value is ", rule.attrs<ScalarAttrs>().value, ", expected a positive number");
  return Like(rule.Matrix(0, "x"));
}

std::vector<Value> InferActivation(const Rule& rule) {
  (void)rule.attrs<NoAttrs>();
  return Like(rule.Matrix(0, "x"));
}

std::vector<Value> InferGated(const Rule& rule) {
  (void)rule.attrs<NoAttrs>();
  const Shape& x = rule.Matrix(0, "x");
  rule.Check(x[1] % 2 == 0, "x has ", x[1], " columns, expected gate and up of one width");
  return Like({x[0], x[1] / 2});
}

std::vector<Value> InferGatedClamped(const Rule& rule) {
  const auto& attrs = rule.attrs<ClampAttrs>();
  rule.Check(attrs.limit > 0 && attrs.alpha > 0, "alpha is ", attrs.alpha, " and limit ", attrs.limit, ", expected positive numbers");
  const Shape& x = rule.Matrix(0, "x");
  rule.Check(x[1] % 2 == 0, "x has ", x[1], " columns, expected gate and up of one width");
  return Like({x[0], x[1] / 2});
}

std::vector<Value> InferGatherRows(const Rule& rule) {
  (void)rule.attrs<NoAttrs>();
  const Shape& x = rule.Matrix(0, "x");
  rule.ExpectRows(x, "x");
  rule.Step(1, Source::kOutputRows, "output rows");
  return Like({rule.graph().outputs, x[1]});
}

std::vector<Value> InferSample(const Rule& rule) {
  const int64_t vocab = rule.attrs<SampleAttrs>().vocab;
  const Shape& logits = rule.Matrix(0, "logits");
  rule.Check(vocab == 0 || (!rule.graph().place.is_alone() && vocab >= logits[1]), "logits have ", logits[1], " columns of a vocabulary of ", vocab);
  rule.Check(logits[0] == rule.graph().outputs, "logits have ", logits[0], " rows, the phase has ", rule.graph().outputs, " output rows");
  std::vector<Value> outputs = Like({logits[0], 1}, DType::kI32);
  outputs.push_back(Like({logits[0], kLogprobCols}).front());
  return outputs;
}

}  // namespace

void CheckSegmentsOf(const Rule& rule, const Segments& segments, const Weight& weight) {
  CheckSegments(rule, segments, weight.shape.back());
  rule.Check(AlignSegments(segments, weight.unit_k) == segments, "has segments within the units of ", weight.unit_k, " columns of ", weight.name);
}

void CheckSegments(const Rule& rule, const Segments& segments, int64_t k) {
  rule.Check(segments.front() == 0, "segments start at ", segments.front(), ", expected 0");
  rule.Check(segments.back() == k, "segments end at ", segments.back(), ", expected K = ", k);
  CheckAscending(rule, segments);
}

void CheckAscending(const Rule& rule, const Segments& segments) {
  for (size_t i = 1; i < segments.size(); ++i) {
    rule.Check(segments[i - 1] <= segments[i], "segment ", i - 1, " runs from ", segments[i - 1], " back to ", segments[i]);
  }
}

void CheckLeaves(const Rule& rule, const Segments& segments, int64_t leaves) {
  rule.Check(leaves == 1 || leaves == 2 || leaves == 4 || leaves == kNumSegments, "has ", leaves, " leaves, expected 1, 2, 4 or ", kNumSegments);
  rule.Check(segments[static_cast<size_t>(leaves)] == segments.back(), "segments after the first ", leaves, " reach to ", segments.back());
}

bool IsKvCache(const Value& value) { return value.source == Source::kKvCache || (value.source == Source::kNode && value.shape.empty()); }

namespace {

// A rule that several ops share asks which of them it is.
template <std::vector<Value> (*kInfer)(const Rule&, Op)>
std::vector<Value> ByOp(const Rule& rule) {
  return kInfer(rule, rule.op());
}

struct OpRule {
  Op op;
  std::vector<Value> (*infer)(const Rule&);
};

constexpr auto kRules = std::to_array<OpRule>({
    {Op::kEmbedding, InferEmbedding},
    {Op::kMatMul, InferMatMul},
    {Op::kRmsNorm, InferRmsNorm},
    {Op::kRotary, InferRotary},
    {Op::kRope, ByOp<InferRope>},
    {Op::kNormRope, ByOp<InferRope>},
    {Op::kScaleByPosition, InferScaleByPosition},
    {Op::kHeadMatMul, ByOp<InferHeads>},
    {Op::kHeadConcat, ByOp<InferHeads>},
    {Op::kSlice, InferSlice},
    {Op::kKvUpdate, InferKvUpdate},
    {Op::kAttention, InferAttention},
    {Op::kAdd, InferPair},
    {Op::kMul, InferPair},
    {Op::kScale, InferScalar},
    {Op::kSoftcap, InferScalar},
    {Op::kSilu, InferActivation},
    {Op::kGeluTanh, InferActivation},
    {Op::kGelu, InferActivation},
    {Op::kTanh, InferActivation},
    {Op::kLayerNorm, ByOp<InferEmbedder>},
    {Op::kUnitNorm, InferActivation},
    {Op::kAddPosition, ByOp<InferEmbedder>},
    {Op::kPool, ByOp<InferEmbedder>},
    {Op::kGatedSilu, InferGated},
    {Op::kGatedGeluTanh, InferGated},
    {Op::kGatedClamped, InferGatedClamped},
    {Op::kRoute, ByOp<InferExperts>},
    {Op::kExpertGroup, ByOp<InferExperts>},
    {Op::kExpertGather, ByOp<InferExperts>},
    {Op::kExpertMatMul, ByOp<InferExperts>},
    {Op::kExpertCombine, ByOp<InferExperts>},
    {Op::kScaleColumns, ByOp<InferRecurrent>},
    {Op::kSigmoidGate, ByOp<InferRecurrent>},
    {Op::kCausalConv, ByOp<InferRecurrent>},
    {Op::kGatedDeltaRule, ByOp<InferRecurrent>},
    {Op::kSsmScan, ByOp<InferRecurrent>},
    {Op::kAllReduce, ByOp<InferRanks>},
    {Op::kAllGather, ByOp<InferRanks>},
    {Op::kAddBias, ByOp<InferRanks>},
    {Op::kZeros, ByOp<InferRanks>},
    {Op::kSquareSum, ByOp<InferRanks>},
    {Op::kNormBy, ByOp<InferRanks>},
    {Op::kExpertIsolate, ByOp<InferRanks>},
    {Op::kExpertBias, ByOp<InferRanks>},
    {Op::kExpertExchange, ByOp<InferRanks>},
    {Op::kRowGather, ByOp<InferRanks>},
    {Op::kGatherRows, InferGatherRows},
    {Op::kSample, InferSample},
});
static_assert(HasEveryOp(kRules));

}  // namespace

std::vector<Value> InferOutputs(const Graph& graph, const Node& node) {
  const Rule rule(graph, node);
  const auto op = static_cast<size_t>(node.op);
  if (op >= kArities.size()) throw std::logic_error(StrCat("unknown op ", op));
  const auto [least, most] = kArities[op];
  rule.Check(node.inputs.size() >= least && node.inputs.size() <= most, "has ", node.inputs.size(), " operands, expected ", least,
             least == most ? "" : StrCat(" to ", most));
  return kRules[op].infer(rule);
}

}  // namespace intaglio::graph
