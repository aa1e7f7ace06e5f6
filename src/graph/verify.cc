#include "graph/verify.h"

#include <array>
#include <set>
#include <stdexcept>
#include <string>

#include "base/strings.h"
#include "graph/infer.h"

namespace intaglio::graph {
namespace {

template <typename... Parts>
void Check(bool is_ok, const Parts&... message) {
  if (!is_ok) throw std::logic_error(StrCat(message...));
}

bool IsInRange(int64_t index, size_t size) { return index >= 0 && index < static_cast<int64_t>(size); }

bool IsPositive(const Shape& shape) {
  for (int64_t size : shape) {
    if (size <= 0) return false;
  }
  return !shape.empty();
}

void CheckSizes(const Graph& graph) {
  Check(graph.rows >= 1 && graph.outputs >= 1 && graph.outputs <= graph.rows, graph.rows, " rows and ", graph.outputs, " output rows");
  Check(graph.max_context >= 1, "max_context is ", graph.max_context);
  Check(graph.phase != Phase::kSpeculation || graph.outputs == graph.rows, "speculation verifies every row, but only ", graph.outputs, " of ",
        graph.rows, " are output rows");
  const auto [rank, tp_degree, ep_degree] = graph.place;
  Check(tp_degree >= 1 && tp_degree <= RankPlace::kMaxRanks && rank >= 0 && rank < tp_degree, "it is of rank ", rank, " of ", tp_degree);
  Check(ep_degree >= 1 && tp_degree % ep_degree == 0 && RankPlace::kMaxRanks % ep_degree == 0, "experts are shared out over ", ep_degree, " of ",
        tp_degree, " ranks");
}

void CheckSource(const Weight& weight, const WeightSource& source) {
  const size_t least_sizes = source.view == SourceView::kMxfp4Rows ? 3 : source.view == SourceView::kColumns ? 2 : 1;
  Check(IsPositive(source.shape) && source.shape.size() >= least_sizes, "source ", source.name, " of ", weight.name, " has shape ", source.shape);
  const WeightSource whole{.name = source.name, .shape = source.shape, .view = source.view};
  Check(source.first_row >= 0 && source.row_step >= 1 && source.first_row + (source.rows() - 1) * source.row_step < whole.rows(), "source ",
        source.name, " of ", weight.name, " takes rows from ", source.first_row, " by ", source.row_step, " beyond its ", whole.rows());
  const int64_t matrices = source.view == SourceView::kColumns ? source.shape.num_elements() / (whole.rows() * source.whole_cols()) : 1;
  Check(source.matrix >= 0 && source.matrix < matrices, "source ", source.name, " of ", weight.name, " is matrix ", source.matrix, " of ", matrices);
  const int64_t cols = source.whole_cols();
  const bool is_within = source.first_k >= 0 && source.num_k >= 0 && source.first_k <= cols && source.num_k <= cols - source.first_k;
  Check(is_within && (source.num_k > 0 || source.first_k == 0), "source ", source.name, " of ", weight.name, " takes ", source.num_k, " of ", cols,
        " elements of a ", source.view == SourceView::kColumns ? "column" : "row", " from ", source.first_k);
  const bool is_matrix = weight.layout == Layout::kMatmul || weight.layout == Layout::kExperts;
  Check(!is_matrix || source.cols() == weight.shape.back(), "source ", source.name, " has shape ", source.shape, ", the weight ", weight.name, " ",
        weight.shape);
}

void CheckWeight(const Weight& weight) {
  Check(!weight.name.empty(), "a weight has no name");
  Check(IsPositive(weight.shape), "weight ", weight.name, " has shape ", weight.shape);
  Check(weight.layout != Layout::kMatmul || weight.shape.size() == 2, "matmul weight ", weight.name, " has shape ", weight.shape);
  Check(weight.layout != Layout::kExperts || weight.shape.size() == 3, "expert weight ", weight.name, " has shape ", weight.shape);
  Check(weight.layout != Layout::kVector || weight.shape.size() == 1, "vector weight ", weight.name, " has shape ", weight.shape);
  const bool is_matrix = weight.layout == Layout::kMatmul || weight.layout == Layout::kExperts;
  Check(weight.unit_k >= 1 && (is_matrix || weight.dtype == DType::kF32), "weight ", weight.name, " is stored as ", Name(weight.dtype),
        " in units of ", weight.unit_k);
  if (weight.constant != nullptr) {
    Check(weight.sources.empty(), "constant ", weight.name, " also has sources");
    Check(static_cast<int64_t>(weight.constant->size()) == weight.shape.num_elements(), "constant ", weight.name, " has ", weight.constant->size(),
          " elements, its shape is ", weight.shape);
    return;
  }
  Check(!weight.sources.empty(), "weight ", weight.name, " has neither sources nor a constant");
  int64_t elements = 0;
  for (const WeightSource& source : weight.sources) {
    CheckSource(weight, source);
    elements += source.rows() * source.cols();
  }
  Check(elements == weight.shape.num_elements(), "the sources of weight ", weight.name, " have ", elements, " elements, its shape is ", weight.shape);
}

void CheckDeclarations(const Graph& graph) {
  std::set<std::string> names;
  for (const Weight& weight : graph.weights) {
    CheckWeight(weight);
    Check(names.insert(weight.name).second, "weight ", weight.name, " is there twice");
  }
  std::set<int32_t> layers;
  for (const KvCache& cache : graph.kv_caches) {
    Check(cache.kv_heads > 0 && cache.head_dim > 0 && cache.v_dim >= 0 && cache.window >= 0, "KV cache of layer ", cache.layer, ": kv_heads ",
          cache.kv_heads, ", head_dim ", cache.head_dim, ", window ", cache.window);
    Check(cache.layer >= 0 && layers.insert(cache.layer).second, "layer ", cache.layer, " has two KV caches");
  }
  std::set<std::pair<int32_t, std::string>> states;
  for (const State& state : graph.states) {
    Check(state.layer >= 0 && state.floats > 0 && state.lookback > 0, "state ", state.name, " of layer ", state.layer, ": ", state.floats,
          " floats, lookback ", state.lookback);
    Check(states.emplace(state.layer, state.name).second, "layer ", state.layer, " has two states ", state.name);
  }
}

// A value that no node makes.
void CheckOutsideValue(const Graph& graph, ValueId id) {
  const Value& value = graph.value(id);
  switch (value.source) {
    case Source::kWeight:
      Check(IsInRange(value.index, graph.weights.size()), "value %", id, " is weight ", value.index, " of ", graph.weights.size());
      Check(value.dtype == DType::kF32, "weight value %", id, " is ", Name(value.dtype), ", expected f32");
      Check(value.shape == graph.weights[static_cast<size_t>(value.index)].shape, "value %", id, " has shape ", value.shape, ", its weight ",
            graph.weights[static_cast<size_t>(value.index)].shape);
      return;
    case Source::kKvCache:
      Check(IsInRange(value.index, graph.kv_caches.size()), "value %", id, " is KV cache ", value.index, " of ", graph.kv_caches.size());
      Check(value.shape.empty(), "KV cache %", id, " has a shape");
      return;
    case Source::kState:
      Check(IsInRange(value.index, graph.states.size()), "value %", id, " is state ", value.index, " of ", graph.states.size());
      Check(value.shape == Shape{graph.states[static_cast<size_t>(value.index)].floats}, "state %", id, " has shape ", value.shape);
      return;
    case Source::kTokens:
    case Source::kPositions:
    case Source::kSlots:
    case Source::kRopeRows:
    case Source::kOutputRows: {
      const Shape expected{value.source == Source::kOutputRows ? graph.outputs : graph.rows};
      Check(value.dtype == DType::kI32 && value.shape == expected, "step input %", id, " is ", Name(value.dtype), " ", value.shape, ", expected i32 ",
            expected);
      return;
    }
    case Source::kActivation:
      Check(value.dtype == DType::kF32 && value.shape.size() == 2 && value.shape[0] == graph.rows && value.shape[1] > 0, "activation %", id, " is ",
            Name(value.dtype), " ", value.shape, ", expected f32 [", graph.rows, ", columns]");
      return;
    case Source::kNode:
      return;
  }
  Check(false, "value %", id, " has unknown source ", static_cast<int>(value.source));
}

void CheckValues(const Graph& graph) {
  std::set<std::string> labels;
  std::set<std::pair<Source, int32_t>> declared;
  for (size_t i = 0; i < graph.values.size(); ++i) {
    const Value& value = graph.values[i];
    CheckOutsideValue(graph, static_cast<ValueId>(i));
    Check(value.label.empty() || labels.insert(value.label).second, "label ", value.label, " is given to two values");
    if (value.source == Source::kNode) continue;
    const bool is_indexed = value.source == Source::kWeight || value.source == Source::kKvCache || value.source == Source::kState;
    Check(declared.emplace(value.source, is_indexed ? value.index : 0).second, "value %", i, " (", value.label, ") is declared twice");
  }
}

// What a value is of what its name says: on ranks that share a model, maybe a part.
enum class Part : uint8_t {
  kWhole,
  kOfSum,       // a term of the sum over all ranks
  kOfChoices,   // of experts' results, those of the rank's share of rows
  kOfRows,      // the rank's share of rows
};

constexpr std::string_view Name(Part part) {
  constexpr std::array<std::string_view, 4> kNames{"whole", "a part of a sum", "a part of the experts' results", "a part of the rows"};
  return kNames[static_cast<size_t>(part)];
}

// What a node makes.
Part PartMade(const Graph& graph, const Node& node) {
  const auto sum_if = [](bool is_part) { return is_part ? Part::kOfSum : Part::kWhole; };
  switch (node.op) {
    case Op::kMatMul:
      return sum_if(std::get<MatMulAttrs>(node.attrs).leaves != kNumSegments);
    case Op::kExpertMatMul:
      return sum_if(std::get<ExpertAttrs>(node.attrs).leaves != kNumSegments);
    case Op::kExpertCombine: {
      const auto& attrs = std::get<ExpertAttrs>(node.attrs);
      return attrs.num_shares != 1 ? Part::kOfRows : sum_if(attrs.num_groups != kNumSegments);
    }
    case Op::kExpertExchange:
      return Part::kOfChoices;
    case Op::kEmbedding:
    case Op::kSquareSum:
    case Op::kZeros:
    case Op::kExpertIsolate:
      return sum_if(!graph.place.is_alone());
    default:
      return Part::kWhole;
  }
}

// What a node wants its operand to be.
Part PartRead(const Node& node, size_t operand) {
  if (operand != 0) return Part::kWhole;
  switch (node.op) {
    case Op::kAllReduce:
    case Op::kExpertIsolate:
      return Part::kOfSum;
    case Op::kExpertCombine:
      return std::get<ExpertAttrs>(node.attrs).num_shares != 1 ? Part::kOfChoices : Part::kWhole;
    case Op::kRowGather:
      return Part::kOfRows;
    default:
      return Part::kWhole;
  }
}

// Walks the nodes in execution order with what is known at each point.
class Walk {
 public:
  explicit Walk(const Graph& graph) : graph_(graph), is_made_(graph.values.size()), is_stale_(graph.values.size()), parts_(graph.values.size()) {
    for (size_t i = 0; i < graph.values.size(); ++i) is_made_[i] = graph.values[i].source != Source::kNode;
  }

  void Visit(const Node& node) {
    for (ValueId id : node.inputs) CheckUse(id);
    const std::vector<Value> expected = InferOutputs(graph_, node);
    CheckParts(node);
    Check(node.outputs.size() == expected.size(), Name(node.op), " has ", node.outputs.size(), " outputs, expected ", expected.size());
    for (size_t i = 0; i < expected.size(); ++i) CheckMade(node.outputs[i], expected[i]);
    const bool updates = node.op == Op::kKvUpdate || (!node.inputs.empty() && graph_.value(node.inputs[0]).source == Source::kState);
    if (updates) is_stale_[static_cast<size_t>(node.inputs[0])] = true;
    parts_[static_cast<size_t>(node.outputs[0])] = PartMade(graph_, node);
  }

  void Finish() const {
    for (size_t i = 0; i < is_made_.size(); ++i) Check(is_made_[i], "no node makes value %", i, " ", graph_.values[i].label);
    for (const auto& [name, id] : graph_.probes) Check(PartOf(id) == Part::kWhole, "probe ", name, " is ", Name(PartOf(id)));
    for (ValueId id : {graph_.logits, graph_.embeddings}) Check(PartOf(id) == Part::kWhole, "the graph's result is ", Name(PartOf(id)));
  }

 private:
  void CheckUse(ValueId id) const {
    Check(IsInRange(id, is_made_.size()), "reads value %", id, " of ", is_made_.size());
    Check(is_made_[static_cast<size_t>(id)], "reads value %", id, " before it is made");
    Check(!is_stale_[static_cast<size_t>(id)], "reads KV cache or state %", id, " after it was updated");
  }
  [[nodiscard]] Part PartOf(ValueId id) const { return IsInRange(id, parts_.size()) ? parts_[static_cast<size_t>(id)] : Part::kWhole; }
  // Parts are for what makes them whole, and it for them. Otherwise a rank would take its part for the sum, or the sum be taken once a rank.
  void CheckParts(const Node& node) const {
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const Part wanted = PartRead(node, i), found = PartOf(node.inputs[i]);
      Check(found == wanted, Name(node.op), " reads %", node.inputs[i], ", which is ", Name(found), ", expected ", Name(wanted));
    }
  }
  void CheckMade(ValueId id, const Value& expected) {
    Check(IsInRange(id, is_made_.size()), "makes value %", id, " of ", is_made_.size());
    const Value& value = graph_.value(id);
    Check(value.source == Source::kNode, "makes value %", id, ", which comes from outside");
    Check(!is_made_[static_cast<size_t>(id)], "makes value %", id, ", which is made already");
    Check(value.dtype == expected.dtype && value.shape == expected.shape, "makes value %", id, " as ", Name(expected.dtype), " ", expected.shape,
          ", declared ", Name(value.dtype), " ", value.shape);
    Check(!IsKvCache(value) || value.index == expected.index, "makes value %", id, " from KV cache ", expected.index, ", declared ", value.index);
    is_made_[static_cast<size_t>(id)] = true;
  }

  const Graph& graph_;
  std::vector<bool> is_made_, is_stale_;
  std::vector<Part> parts_;
};

void CheckResult(const Graph& graph, ValueId id, std::string_view name, DType dtype, int64_t cols) {
  Check(IsInRange(id, graph.values.size()), name, " are missing");
  const Value& value = graph.value(id);
  const bool is_ok = value.source == Source::kNode && value.dtype == dtype && value.shape.size() == 2 && value.shape[0] == graph.outputs &&
                     (cols == 0 || value.shape[1] == cols);
  Check(is_ok, name, " are ", Name(value.dtype), " ", value.shape, ", expected ", Name(dtype), " [", graph.outputs, ", ",
        cols != 0             ? std::to_string(cols)
        : graph.is_embedder() ? "dim"
                              : "vocabulary",
        "] made by a node");
}

void CheckResults(const Graph& graph) {
  if (graph.is_embedder()) {
    Check(graph.logits == kNoValue && graph.ids == kNoValue && graph.logprobs == kNoValue, "embeddings and next tokens are both results");
    Check(graph.phase == Phase::kContextEncoding, "an embedder has a graph of ", Name(graph.phase));
    return CheckResult(graph, graph.embeddings, "embeddings", DType::kF32, 0);
  }
  CheckResult(graph, graph.logits, "logits", DType::kF32, 0);
  CheckResult(graph, graph.ids, "ids", DType::kI32, 1);
  CheckResult(graph, graph.logprobs, "logprobs", DType::kF32, kLogprobCols);
}

}  // namespace

void Verify(const Graph& graph, std::string_view stage) {
  std::string where;
  try {
    CheckSizes(graph);
    CheckDeclarations(graph);
    CheckValues(graph);
    Walk walk(graph);
    for (size_t i = 0; i < graph.nodes.size(); ++i) {
      where = StrCat("node ", i, " (", graph.nodes[i].scope, "): ");
      walk.Visit(graph.nodes[i]);
    }
    where.clear();
    walk.Finish();
    CheckResults(graph);
    for (const auto& [name, id] : graph.probes)
      Check(IsInRange(id, graph.values.size()), "probe ", name, " is value %", id, " of ", graph.values.size());
  } catch (const std::logic_error& fault) { throw std::logic_error(StrCat("after ", stage, ": ", where, fault.what())); }
}

}  // namespace intaglio::graph
