#include "graph/builder.h"

#include <algorithm>
#include <cmath>

#include <stdexcept>
#include <utility>

#include "base/fail.h"
#include "graph/infer.h"

namespace intaglio::graph {
namespace {

ValueRef Append(Graph& graph, Value value) {
  graph.values.push_back(std::move(value));
  return {&graph, static_cast<ValueId>(graph.values.size() - 1)};
}

bool IsSameWeight(const Weight& a, const Weight& b) {
  const bool is_same_constant = a.constant == b.constant || (a.constant != nullptr && b.constant != nullptr && *a.constant == *b.constant);
  return a.shape == b.shape && a.layout == b.layout && a.sources == b.sources && a.add == b.add && is_same_constant;
}

// Ranks add what they have of K, each by the segments that one rank would have: a unit cannot be in two of them.
void CheckCut(const Weight& weight) {
  for (const WeightSource& source : weight.sources) {
    if (source.shard != Shard::kColumns && source.shard != Shard::kHeadColumns) continue;
    for (int64_t border : {source.first_k, source.first_k + source.cols()}) {
      Require(border % weight.unit_k == 0 || border == source.whole_cols(), ErrorCode::kInvalidArgument, "export: ", weight.name, " is stored as ",
              weight.dtype, " in units of ", weight.unit_k, " columns, but ranks cut it at column ", border, "; use a smaller --group, --keep ",
              weight.name, "=bf16, --dequantize, or fewer ranks (--tp)");
    }
  }
}

}  // namespace

Builder::Builder(Graph& graph) : graph_(&graph) {
  if (!graph.values.empty()) throw std::logic_error("a Builder starts on an empty graph");
  Append(graph, {.source = Source::kTokens, .dtype = DType::kI32, .shape = {graph.rows}, .label = "tokens"});
  Append(graph, {.source = Source::kPositions, .dtype = DType::kI32, .shape = {graph.rows}, .label = "positions"});
  Append(graph, {.source = Source::kSlots, .dtype = DType::kI32, .shape = {graph.rows}, .label = "slots"});
  Append(graph, {.source = Source::kOutputRows, .dtype = DType::kI32, .shape = {graph.outputs}, .label = "output_rows"});
}

Builder Builder::In(std::string_view name) const {
  Builder inner = *this;
  inner.scope_ = scope_.empty() ? std::string(name) : StrCat(scope_, '.', name);
  return inner;
}

Builder Builder::InLayer(int32_t layer, std::string_view list) const {
  Builder inner = In(list).In(std::to_string(layer));
  inner.layer_ = layer;
  return inner;
}

ValueRef Builder::DeclareNamed(graph::Weight weight) const {
  for (size_t i = 0; i < graph_->values.size(); ++i) {
    const Value& value = graph_->values[i];
    if (value.source != Source::kWeight || graph_->weights[static_cast<size_t>(value.index)].name != weight.name) continue;
    if (!IsSameWeight(graph_->weights[static_cast<size_t>(value.index)], weight)) {
      throw std::logic_error(StrCat("weight ", weight.name, " is declared twice, in two ways"));
    }
    return {graph_, static_cast<ValueId>(i)};
  }
  if (graph_->formats && (weight.layout == Layout::kMatmul || weight.layout == Layout::kExperts)) {
    const WeightFormat format = graph_->formats(weight);
    weight.dtype = format.dtype, weight.unit_k = format.unit_k;
    CheckCut(weight);
  }
  Value value{.source = Source::kWeight, .shape = weight.shape, .index = static_cast<int32_t>(graph_->weights.size()), .label = weight.name};
  graph_->weights.push_back(std::move(weight));
  return Append(*graph_, std::move(value));
}

ValueRef Builder::Declare(graph::Weight weight) const {
  weight.name = StrCat(scope_, '.', weight.name);
  return DeclareNamed(std::move(weight));
}

ValueRef Builder::Weight(std::string_view name, Shape shape, Shard shard, Layout layout, float add) const {
  const std::string full_name = In(name).scope();
  return DeclareNamed({.name = full_name,
                       .shape = shape,
                       .layout = layout,
                       .sources = {{.name = full_name, .shape = std::move(shape), .shard = shard}},
                       .add = add,
                       .constant = nullptr});
}

ValueRef Builder::Table(const std::string& name, Shape shape, std::shared_ptr<const std::vector<float>> data) const {
  if (data == nullptr || static_cast<int64_t>(data->size()) != shape.num_elements())
    throw std::logic_error(StrCat("table ", name, " is not ", shape));
  return DeclareNamed({.name = name, .shape = std::move(shape), .layout = Layout::kTable, .sources = {}, .constant = std::move(data)});
}

ValueRef Builder::rope_rows(int64_t rope_switch) const {
  if (graph_->rope_follows_length || (graph_->rope_switch != 0 && graph_->rope_switch != rope_switch))
    throw std::logic_error(StrCat("rotary tables change at ", rope_switch, " positions, and others elsewhere"));
  graph_->rope_switch = rope_switch;
  return RopeRows();
}

ValueRef Builder::Rotary(ValueRef frequencies, const RotaryAttrs& attrs) const {
  if (graph_->rope_switch != 0) throw std::logic_error("rotary tables change at a length, and others with every length");
  for (const Node& node : graph_->nodes) {
    if (node.op == Op::kRotary && node.inputs[2] == frequencies.id && std::get<RotaryAttrs>(node.attrs) == attrs) return {graph_, node.outputs[0]};
  }
  graph_->rope_follows_length = true;
  return Emit(Op::kRotary, {positions(), RopeRows(), frequencies}, attrs).front();
}

ValueRef Builder::RopeRows() const {
  for (size_t i = 0; i < graph_->values.size(); ++i) {
    if (graph_->values[i].source == Source::kRopeRows) return {graph_, static_cast<ValueId>(i)};
  }
  return Append(*graph_, {.source = Source::kRopeRows, .dtype = DType::kI32, .shape = {graph_->rows}, .label = "rope_rows"});
}

int64_t Builder::ExpertCapacity(int64_t top_k, int64_t num_experts) const {
  if (graph_->capacity_factor == 0) return 0;
  const double capacity = std::ceil(static_cast<double>(graph_->rows * top_k) * graph_->capacity_factor / static_cast<double>(num_experts));
  return static_cast<int64_t>(std::min(capacity, static_cast<double>(graph_->rows)));
}

ValueRef Builder::Cache(const KvCache& cache) const {
  if (layer_ < 0) throw std::logic_error(StrCat("KV cache in ", scope_, ": not within a layer"));
  graph_->kv_caches.push_back(cache);
  graph_->kv_caches.back().layer = layer_;
  return Append(*graph_, {.source = Source::kKvCache,
                          .shape = {},
                          .index = static_cast<int32_t>(graph_->kv_caches.size() - 1),
                          .label = StrCat("layer", layer_, ".kv_cache")});
}

ValueRef Builder::State(graph::State state) const {
  if (layer_ < 0) throw std::logic_error(StrCat("state ", state.name, " in ", scope_, ": not within a layer"));
  state.layer = layer_;
  Value value{.source = Source::kState,
              .shape = {state.floats},
              .index = static_cast<int32_t>(graph_->states.size()),
              .label = StrCat("layer", layer_, ".state.", state.name)};
  graph_->states.push_back(std::move(state));
  return Append(*graph_, std::move(value));
}

std::vector<ValueRef> Builder::Emit(Op op, const std::vector<ValueRef>& inputs, Attrs attrs) const {
  Node node{.op = op, .inputs = {}, .outputs = {}, .attrs = attrs, .scope = scope_};
  for (const ValueRef& input : inputs) {
    if (input.graph != graph_) throw std::logic_error(StrCat(Name(op), " in ", scope_, ": operand of another graph"));
    node.inputs.push_back(input.id);
  }
  std::vector<ValueRef> outputs;
  for (Value& value : InferOutputs(*graph_, node)) {
    outputs.push_back(Append(*graph_, std::move(value)));
    node.outputs.push_back(outputs.back().id);
  }
  graph_->nodes.push_back(std::move(node));
  return outputs;
}

ValueRef Builder::Probe(std::string_view name, ValueRef value) const {
  const std::string full_name = layer_ < 0 ? std::string(name) : StrCat("layer", layer_, '.', name);
  if (!graph_->probes.emplace(full_name, value.id).second) throw std::logic_error(StrCat("probe ", full_name, " is recorded twice"));
  std::string& label = graph_->values[static_cast<size_t>(value.id)].label;
  if (label.empty()) label = full_name;
  return value;
}

ValueRef MatMul(const Builder& b, const MatMulOperands& operands, const Segments& segments, int64_t leaves) {
  MatMulAttrs attrs{.segments = AlignSegments(segments, operands.weight.weight().unit_k),
                    .has_bias = operands.bias.id != kNoValue,
                    .has_residual = operands.residual.id != kNoValue,
                    .leaves = leaves};
  std::vector<ValueRef> inputs{operands.x, operands.weight};
  if (attrs.has_bias) inputs.push_back(operands.bias);
  if (attrs.has_residual) inputs.push_back(operands.residual);
  return b.Emit(Op::kMatMul, inputs, attrs).front();
}

ValueRef Embedding(const Builder& b, ValueRef table, float scale, int64_t first_id) {
  return b.Emit(Op::kEmbedding, {b.tokens(), table}, EmbeddingAttrs{.scale = scale, .first_id = first_id}).front();
}

ValueRef RmsNorm(const Builder& b, ValueRef x, ValueRef weight, const NormAttrs& attrs) { return b.Emit(Op::kRmsNorm, {x, weight}, attrs).front(); }

ValueRef Rope(const Builder& b, ValueRef x, ValueRef table, const RopeAttrs& attrs, ValueRef rows) {
  return b.Emit(Op::kRope, {x, rows.id == kNoValue ? b.positions() : rows, table}, attrs).front();
}

ValueRef KvUpdate(const Builder& b, ValueRef cache, ValueRef k, ValueRef v) {
  return b.Emit(Op::kKvUpdate, {cache, k, v, b.slots(), b.positions()}).front();
}

ValueRef Attention(const Builder& b, ValueRef q, ValueRef cache, const AttentionAttrs& attrs, ValueRef sinks) {
  std::vector<ValueRef> inputs{q, cache, b.slots(), b.positions()};
  if (sinks.id != kNoValue) inputs.push_back(sinks);
  return b.Emit(Op::kAttention, inputs, attrs).front();
}

ValueRef ScaleByPosition(const Builder& b, ValueRef x, ValueRef table) { return b.Emit(Op::kScaleByPosition, {x, b.positions(), table}).front(); }

ValueRef HeadMatMul(const Builder& b, ValueRef x, ValueRef weight, const Segments& segments) {
  return b.Emit(Op::kHeadMatMul, {x, weight}, HeadAttrs{.heads = weight.shape()[0], .segments = AlignSegments(segments, weight.weight().unit_k)})
      .front();
}

ValueRef HeadConcat(const Builder& b, ValueRef x, ValueRef y, const HeadAttrs& attrs) { return b.Emit(Op::kHeadConcat, {x, y}, attrs).front(); }

ValueRef Slice(const Builder& b, ValueRef x, const SliceAttrs& attrs) { return b.Emit(Op::kSlice, {x}, attrs).front(); }
ValueRef Add(const Builder& b, ValueRef x, ValueRef y) { return b.Emit(Op::kAdd, {x, y}).front(); }
ValueRef Mul(const Builder& b, ValueRef x, ValueRef y) { return b.Emit(Op::kMul, {x, y}).front(); }
ValueRef Scale(const Builder& b, ValueRef x, float factor) { return factor == 1 ? x : b.Emit(Op::kScale, {x}, ScalarAttrs{factor}).front(); }
ValueRef Softcap(const Builder& b, ValueRef x, float cap) { return b.Emit(Op::kSoftcap, {x}, ScalarAttrs{cap}).front(); }
ValueRef Silu(const Builder& b, ValueRef x) { return b.Emit(Op::kSilu, {x}).front(); }
ValueRef GeluTanh(const Builder& b, ValueRef x) { return b.Emit(Op::kGeluTanh, {x}).front(); }
ValueRef ScaleColumns(const Builder& b, ValueRef x, ValueRef vector) { return b.Emit(Op::kScaleColumns, {x, vector}).front(); }
ValueRef SigmoidGate(const Builder& b, ValueRef x, ValueRef gate) { return b.Emit(Op::kSigmoidGate, {x, gate}).front(); }
ValueRef GatherRows(const Builder& b, ValueRef x) { return b.Emit(Op::kGatherRows, {x, b.output_rows()}).front(); }
ValueRef Gelu(const Builder& b, ValueRef x) { return b.Emit(Op::kGelu, {x}).front(); }
ValueRef Tanh(const Builder& b, ValueRef x) { return b.Emit(Op::kTanh, {x}).front(); }
ValueRef UnitNorm(const Builder& b, ValueRef x) { return b.Emit(Op::kUnitNorm, {x}).front(); }

ValueRef LayerNorm(const Builder& b, ValueRef x, const LayerNormWeights& weights, float eps) {
  return b.Emit(Op::kLayerNorm, {x, weights.weight, weights.bias}, NormAttrs{.eps = eps, .width = x.shape()[1]}).front();
}

ValueRef AddPosition(const Builder& b, ValueRef x, ValueRef table, ValueRef constant) {
  return b.Emit(Op::kAddPosition, {x, b.positions(), table, constant}).front();
}

ValueRef Pool(const Builder& b, ValueRef x, PoolMode mode) { return b.Emit(Op::kPool, {x, b.positions(), b.output_rows()}, PoolAttrs{mode}).front(); }

Sampled Sample(const Builder& b, ValueRef logits, int64_t vocab) {
  const std::vector<ValueRef> outputs = b.Emit(Op::kSample, {logits}, SampleAttrs{vocab});
  return {.ids = outputs[0], .logprobs = outputs[1]};
}

ValueRef AllReduce(const Builder& b, ValueRef x) { return b.Emit(Op::kAllReduce, {x}).front(); }
ValueRef AddBias(const Builder& b, ValueRef x, ValueRef bias) { return b.Emit(Op::kAddBias, {x, bias}).front(); }
ValueRef SquareSum(const Builder& b, ValueRef x, const SquareSumAttrs& attrs) { return b.Emit(Op::kSquareSum, {x}, attrs).front(); }

ValueRef AllGather(const Builder& b, ValueRef x, const Segments& borders) {
  const std::vector<ValueRef> inputs = x.id == kNoValue ? std::vector<ValueRef>{} : std::vector<ValueRef>{x};
  return b.Emit(Op::kAllGather, inputs, GatherAttrs{borders}).front();
}

ValueRef ExpertExchange(const Builder& b, const ExchangedRows& rows, const ExchangeAttrs& attrs) {
  std::vector<ValueRef> inputs{rows.positions, rows.offsets};
  if (rows.y.id != kNoValue) inputs.push_back(rows.y);
  return b.Emit(Op::kExpertExchange, inputs, attrs).front();
}

ValueRef RowGather(const Builder& b, ValueRef x) { return b.Emit(Op::kRowGather, {x}).front(); }

ValueRef Zeros(const Builder& b, int64_t cols, int64_t multiple) {
  return b.Emit(Op::kZeros, {}, ZerosAttrs{.rows = b.rows() * multiple, .cols = cols}).front();
}

ValueRef NormBy(const Builder& b, ValueRef x, ValueRef sums, ValueRef weight, const NormAttrs& attrs) {
  return b.Emit(Op::kNormBy, {x, sums, weight}, attrs).front();
}

ValueRef ExpertIsolate(const Builder& b, ValueRef y, ValueRef offsets, const ExpertAttrs& attrs) {
  return b.Emit(Op::kExpertIsolate, {y, offsets}, attrs).front();
}

ValueRef ExpertBias(const Builder& b, ValueRef y, ValueRef offsets, ValueRef bias) {
  return b.Emit(Op::kExpertBias, {y, offsets, bias}, ExpertAttrs{.num_experts = bias.shape()[0]}).front();
}

}  // namespace intaglio::graph
