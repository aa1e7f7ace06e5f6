#include "graph/infer.h"

#include <algorithm>
#include <stdexcept>

#include "base/strings.h"
#include "graph/infer_recurrent.h"

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

// One node with its operands, and the checks that all rules are made of. Each names the operand by the word that ops.inc uses.
class Rule {
 public:
  Rule(const Graph& graph, const Node& node) : graph_(graph), node_(node) {}

  template <typename... Parts>
  void Check(bool is_ok, const Parts&... message) const {
    if (!is_ok) throw std::logic_error(StrCat(Name(node_.op), " in ", node_.scope.empty() ? "the graph" : node_.scope, ": ", message...));
  }
  [[nodiscard]] const Value& input(size_t i) const { return graph_.value(node_.inputs[i]); }
  [[nodiscard]] const Graph& graph() const { return graph_; }

  template <typename T>
  [[nodiscard]] const T& attrs() const {
    Check(std::holds_alternative<T>(node_.attrs), "has attributes of another op");
    return std::get<T>(node_.attrs);
  }
  // An activation: f32 [rows, cols].
  [[nodiscard]] const Shape& Matrix(size_t i, std::string_view what) const {
    Check(input(i).dtype == DType::kF32, what, " is ", Name(input(i).dtype), ", expected f32");
    Check(input(i).shape.size() == 2, what, " has shape ", input(i).shape, ", expected two dimensions");
    return input(i).shape;
  }
  void Step(size_t i, Source source, std::string_view what) const { Check(input(i).source == source, "operand ", i, " is not the step's ", what); }
  const Weight& WeightOf(size_t i, Layout layout, std::string_view what) const {
    Check(input(i).source == Source::kWeight, what, " is not a weight");
    const Weight& weight = graph_.weights[static_cast<size_t>(input(i).index)];
    Check(weight.layout == layout, what, " ", weight.name, " has another layout than this op reads");
    return weight;
  }
  void ExpectShape(size_t i, const Shape& expected, std::string_view what) const {
    Check(input(i).shape == expected, what, " has shape ", input(i).shape, ", expected ", expected);
  }
  const KvCache& Cache(size_t i) const {
    Check(IsKvCache(input(i)), "operand ", i, " is not a KV cache");
    return graph_.kv_caches[static_cast<size_t>(input(i).index)];
  }
  // What a value is when an op reads it by rows of the phase.
  void ExpectRows(const Shape& shape, std::string_view what) const {
    Check(shape[0] == graph_.rows, what, " has ", shape[0], " rows, the phase has ", graph_.rows);
  }

 private:
  const Graph& graph_;
  const Node& node_;
};

std::vector<Value> Like(Shape shape, DType dtype = DType::kF32) { return {Value{.dtype = dtype, .shape = std::move(shape), .label = {}}}; }

std::vector<Value> InferEmbedding(const Rule& rule) {
  (void)rule.attrs<EmbeddingAttrs>();
  rule.Step(0, Source::kTokens, "tokens");
  const Weight& table = rule.WeightOf(1, Layout::kMatmul, "table");
  rule.Check(table.shape.size() == 2, "table has shape ", table.shape, ", expected two dimensions");
  return Like({rule.graph().rows, table.shape[1]});
}

void CheckSegments(const Rule& rule, const Segments& segments, int64_t k) {
  rule.Check(segments.front() == 0, "segments start at ", segments.front(), ", expected 0");
  rule.Check(segments.back() == k, "segments end at ", segments.back(), ", expected K = ", k);
  for (size_t i = 1; i < segments.size(); ++i) {
    rule.Check(segments[i - 1] <= segments[i], "segment ", i - 1, " runs from ", segments[i - 1], " back to ", segments[i]);
  }
}

std::vector<Value> InferMatMul(const Rule& rule, size_t num_inputs) {
  const auto& attrs = rule.attrs<MatMulAttrs>();
  const size_t expected = 2 + (attrs.has_bias ? 1 : 0) + (attrs.has_residual ? 1 : 0);
  rule.Check(num_inputs == expected, "has ", num_inputs, " operands, its attributes say ", expected);
  const Shape& x = rule.Matrix(0, "x");
  const Weight& weight = rule.WeightOf(1, Layout::kMatmul, "weight");
  rule.Check(weight.shape.size() == 2 && weight.shape[1] == x[1], "weight has shape ", weight.shape, ", x has shape ", x);
  CheckSegments(rule, attrs.segments, x[1]);
  const Shape out{x[0], weight.shape[0]};
  if (attrs.has_bias) {
    (void)rule.WeightOf(2, Layout::kVector, "bias");
    rule.ExpectShape(2, {out[1]}, "bias");
  }
  if (attrs.has_residual) {
    (void)rule.Matrix(num_inputs - 1, "residual");
    rule.ExpectShape(num_inputs - 1, out, "residual");
  }
  return Like(out);
}

std::vector<Value> InferRmsNorm(const Rule& rule) {
  const auto& attrs = rule.attrs<NormAttrs>();
  const Shape& x = rule.Matrix(0, "x");
  rule.Check(attrs.eps > 0, "eps is ", attrs.eps, ", expected a positive number");
  rule.Check(attrs.width > 0 && x[1] % attrs.width == 0, "width ", attrs.width, " does not divide the ", x[1], " columns of x");
  (void)rule.WeightOf(1, Layout::kVector, "weight");
  rule.ExpectShape(1, {attrs.width}, "weight");
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
    (void)rule.WeightOf(3, Layout::kVector, "norm weight");
    rule.ExpectShape(3, {attrs.head_dim}, "norm weight");
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

std::vector<Value> InferHeadMatMul(const Rule& rule) {
  const auto& attrs = rule.attrs<HeadAttrs>();
  const Shape& x = rule.Matrix(0, "x");
  const Weight& weight = rule.WeightOf(1, Layout::kExperts, "weight");
  rule.Check(attrs.heads >= 1 && weight.shape[0] == attrs.heads && weight.shape[2] * attrs.heads == x[1], "weight has shape ", weight.shape,
             ", x has shape ", x, " of ", attrs.heads, " heads");
  CheckSegments(rule, attrs.segments, weight.shape[2]);
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

std::vector<Value> InferAttention(const Rule& rule, size_t num_inputs) {
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
  if (attrs.has_sinks) {
    (void)rule.WeightOf(4, Layout::kVector, "sinks");
    rule.ExpectShape(4, {attrs.heads}, "sinks");
  }
  return Like({q[0], attrs.heads * attrs.value_dim()});
}

std::vector<Value> InferPair(const Rule& rule) {
  (void)rule.attrs<NoAttrs>();
  const Shape& x = rule.Matrix(0, "left operand");
  (void)rule.Matrix(1, "right operand");
  rule.ExpectShape(1, x, "right operand");
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

std::vector<Value> InferRoute(const Rule& rule, size_t num_inputs) {
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
  if (num_inputs == 2) {
    (void)rule.WeightOf(1, Layout::kVector, "correction bias");
    rule.ExpectShape(1, {attrs.num_experts}, "correction bias");
  }
  std::vector<Value> outputs = Like({logits[0], attrs.top_k}, DType::kI32);
  outputs.push_back(Like({logits[0], attrs.top_k}).front());
  return outputs;
}

// Expert ids or positions: i32 [R, k].
const Shape& Choices(const Rule& rule, size_t i, std::string_view what) {
  rule.Check(rule.input(i).dtype == DType::kI32 && rule.input(i).shape.size() == 2, what, " are not an i32 matrix");
  rule.ExpectRows(rule.input(i).shape, what);
  return rule.input(i).shape;
}

std::vector<Value> InferExpertGroup(const Rule& rule) {
  const auto& attrs = rule.attrs<ExpertAttrs>();
  std::vector<Value> outputs = Like(Choices(rule, 0, "ids"), DType::kI32);
  outputs.push_back(Like({1, attrs.num_experts + 1}, DType::kI32).front());
  return outputs;
}

std::vector<Value> InferExpertGather(const Rule& rule, size_t num_inputs) {
  const auto& attrs = rule.attrs<ExpertAttrs>();
  rule.Check(num_inputs == (attrs.has_weights ? 3u : 2u), "has ", num_inputs, " operands, its attributes say otherwise");
  const Shape &x = rule.Matrix(0, "x"), &positions = Choices(rule, 1, "positions");
  rule.ExpectRows(x, "x");
  if (attrs.has_weights) rule.ExpectShape(2, positions, "weights");
  return Like({positions[0] * positions[1], x[1]});
}

std::vector<Value> InferExpertMatMul(const Rule& rule, size_t num_inputs) {
  const auto& attrs = rule.attrs<ExpertAttrs>();
  rule.Check(num_inputs == (attrs.has_bias ? 4u : 3u), "has ", num_inputs, " operands, its attributes say otherwise");
  const Shape& x = rule.Matrix(0, "x");
  const Weight& weight = rule.WeightOf(1, Layout::kExperts, "weight");
  rule.Check(weight.shape[0] == attrs.num_experts && weight.shape[2] == x[1], "weight has shape ", weight.shape, ", x has shape ", x);
  rule.Check(rule.input(2).dtype == DType::kI32, "offsets are not i32");
  rule.ExpectShape(2, {1, attrs.num_experts + 1}, "offsets");
  CheckSegments(rule, attrs.segments, x[1]);
  if (attrs.has_bias) {
    (void)rule.WeightOf(3, Layout::kTable, "bias");
    rule.ExpectShape(3, {attrs.num_experts, weight.shape[1]}, "bias");
  }
  return Like({x[0], weight.shape[1]});
}

std::vector<Value> InferExpertCombine(const Rule& rule, size_t num_inputs) {
  const auto& attrs = rule.attrs<ExpertAttrs>();
  rule.Check(num_inputs == (attrs.has_weights ? 4u : 3u), "has ", num_inputs, " operands, its attributes say otherwise");
  const Shape &y = rule.Matrix(0, "y"), &positions = Choices(rule, 1, "positions");
  rule.Check(y[0] == positions[0] * positions[1], "y has ", y[0], " rows, positions ", positions);
  rule.ExpectShape(2, positions, "ids");
  if (attrs.has_weights) rule.ExpectShape(3, positions, "weights");
  return Like({positions[0], y[1]});
}

std::vector<Value> InferLayerNorm(const Rule& rule) {
  const auto& attrs = rule.attrs<NormAttrs>();
  const Shape& x = rule.Matrix(0, "x");
  rule.Check(attrs.eps > 0, "eps is ", attrs.eps, ", expected a positive number");
  rule.Check(attrs.width == x[1] && !attrs.is_segmented(), "width is ", attrs.width, ", expected the ", x[1], " columns of x in one run");
  (void)rule.WeightOf(1, Layout::kVector, "weight"), (void)rule.WeightOf(2, Layout::kVector, "bias");
  rule.ExpectShape(1, {x[1]}, "weight"), rule.ExpectShape(2, {x[1]}, "bias");
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
  (void)rule.WeightOf(3, Layout::kVector, "constant"), rule.ExpectShape(3, {x[1]}, "constant");
  return Like(x);
}

std::vector<Value> InferPool(const Rule& rule) {
  (void)rule.attrs<PoolAttrs>();
  const Shape& x = rule.Matrix(0, "x");
  rule.ExpectRows(x, "x");
  rule.Step(1, Source::kPositions, "positions"), rule.Step(2, Source::kOutputRows, "output rows");
  return Like({rule.graph().outputs, x[1]});
}

std::vector<Value> InferEmbedder(const Rule& rule, Op op) {
  return op == Op::kPool ? InferPool(rule) : op == Op::kLayerNorm ? InferLayerNorm(rule) : InferAddPosition(rule);
}

std::vector<Value> InferGatherRows(const Rule& rule) {
  (void)rule.attrs<NoAttrs>();
  const Shape& x = rule.Matrix(0, "x");
  rule.ExpectRows(x, "x");
  rule.Step(1, Source::kOutputRows, "output rows");
  return Like({rule.graph().outputs, x[1]});
}

std::vector<Value> InferSample(const Rule& rule) {
  (void)rule.attrs<NoAttrs>();
  const Shape& logits = rule.Matrix(0, "logits");
  rule.Check(logits[0] == rule.graph().outputs, "logits have ", logits[0], " rows, the phase has ", rule.graph().outputs, " output rows");
  std::vector<Value> outputs = Like({logits[0], 1}, DType::kI32);
  outputs.push_back(Like({logits[0], kLogprobCols}).front());
  return outputs;
}

}  // namespace

bool IsKvCache(const Value& value) { return value.source == Source::kKvCache || (value.source == Source::kNode && value.shape.empty()); }

std::vector<Value> InferOutputs(const Graph& graph, const Node& node) {
  const Rule rule(graph, node);
  const auto op = static_cast<size_t>(node.op);
  if (op >= kArities.size()) throw std::logic_error(StrCat("unknown op ", op));
  const auto [least, most] = kArities[op];
  rule.Check(node.inputs.size() >= least && node.inputs.size() <= most, "has ", node.inputs.size(), " operands, expected ", least,
             least == most ? "" : StrCat(" to ", most));
  switch (node.op) {
    case Op::kEmbedding:
      return InferEmbedding(rule);
    case Op::kMatMul:
      return InferMatMul(rule, node.inputs.size());
    case Op::kRmsNorm:
      return InferRmsNorm(rule);
    case Op::kRotary:
      return InferRotary(rule);
    case Op::kRope:
    case Op::kNormRope:
      return InferRope(rule, node.op);
    case Op::kScaleByPosition:
      return InferScaleByPosition(rule);
    case Op::kHeadMatMul:
      return InferHeadMatMul(rule);
    case Op::kHeadConcat:
      return InferHeadConcat(rule);
    case Op::kSlice:
      return InferSlice(rule);
    case Op::kKvUpdate:
      return InferKvUpdate(rule);
    case Op::kAttention:
      return InferAttention(rule, node.inputs.size());
    case Op::kAdd:
    case Op::kMul:
      return InferPair(rule);
    case Op::kScale:
    case Op::kSoftcap:
      return InferScalar(rule);
    case Op::kSilu:
    case Op::kGeluTanh:
    case Op::kGelu:
    case Op::kTanh:
    case Op::kUnitNorm:
      return InferActivation(rule);
    case Op::kLayerNorm:
    case Op::kAddPosition:
    case Op::kPool:
      return InferEmbedder(rule, node.op);
    case Op::kGatedSilu:
    case Op::kGatedGeluTanh:
      return InferGated(rule);
    case Op::kGatedClamped:
      return InferGatedClamped(rule);
    case Op::kRoute:
      return InferRoute(rule, node.inputs.size());
    case Op::kExpertGroup:
      return InferExpertGroup(rule);
    case Op::kExpertGather:
      return InferExpertGather(rule, node.inputs.size());
    case Op::kExpertMatMul:
      return InferExpertMatMul(rule, node.inputs.size());
    case Op::kExpertCombine:
      return InferExpertCombine(rule, node.inputs.size());
    case Op::kScaleColumns:
    case Op::kSigmoidGate:
    case Op::kCausalConv:
    case Op::kGatedDeltaRule:
    case Op::kSsmScan:
      return InferRecurrent(graph, node);
    case Op::kGatherRows:
      return InferGatherRows(rule);
    case Op::kSample:
      return InferSample(rule);
  }
  return {};
}

}  // namespace intaglio::graph
