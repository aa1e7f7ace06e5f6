// What the shape rules of all ops are made of. For infer*.cc alone.
#pragma once
#include <stdexcept>
#include <string_view>
#include <vector>

#include "base/strings.h"
#include "graph/graph.h"
#include "graph/infer.h"

namespace intaglio::graph {

// One node with its operands, and the checks that all rules are made of. Each names the operand by the word that ops.inc uses.
class Rule {
 public:
  Rule(const Graph& graph, const Node& node) : graph_(graph), node_(node) {}

  template <typename... Parts>
  void Check(bool is_ok, const Parts&... message) const {
    if (!is_ok) throw std::logic_error(StrCat(Name(node_.op), " in ", node_.scope.empty() ? "the graph" : node_.scope, ": ", message...));
  }
  [[nodiscard]] Op op() const { return node_.op; }
  [[nodiscard]] const Value& input(size_t i) const { return graph_.value(node_.inputs[i]); }
  [[nodiscard]] size_t num_inputs() const { return node_.inputs.size(); }
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

  void ExpectMatrix(size_t i, const Shape& expected, std::string_view what) const {
    (void)Matrix(i, what);
    ExpectShape(i, expected, what);
  }
  // A weight that is one row of `size` numbers.
  void ExpectVector(size_t i, int64_t size, std::string_view what) const {
    (void)WeightOf(i, Layout::kVector, what);
    ExpectShape(i, {size}, what);
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

 private:
  const Graph& graph_;
  const Node& node_;
};

inline std::vector<Value> Like(Shape shape, DType dtype = DType::kF32) { return {Value{.dtype = dtype, .shape = std::move(shape), .label = {}}}; }

// Segments ascend from 0 to `k`.
void CheckSegments(const Rule& rule, const Segments& segments, int64_t k);
// The same of a matrix' K, and that they begin at its units.
void CheckSegmentsOf(const Rule& rule, const Segments& segments, const Weight& weight);
void CheckAscending(const Rule& rule, const Segments& segments);
// `leaves` is a power of two up to 8, and segments past it are empty.
void CheckLeaves(const Rule& rule, const Segments& segments, int64_t leaves);
// Expert ids or positions: i32 [R, k].
const Shape& Choices(const Rule& rule, size_t i, std::string_view what);
// What ExpertGroup says of where each expert's rows are: i32 [1, experts + 1].
void CheckOffsets(const Rule& rule, size_t i, int64_t num_experts);
// A rank has experts [first_expert, end_expert()) of all.
void CheckOwnExperts(const Rule& rule, const ExpertAttrs& attrs);

// The rules of further ops, by kind; as InferOutputs. REQUIRES: the number of operands is right.
[[nodiscard]] std::vector<Value> InferExperts(const Rule& rule, Op op);
[[nodiscard]] std::vector<Value> InferHeads(const Rule& rule, Op op);
[[nodiscard]] std::vector<Value> InferEmbedder(const Rule& rule, Op op);
[[nodiscard]] std::vector<Value> InferRecurrent(const Rule& rule, Op op);
[[nodiscard]] std::vector<Value> InferRanks(const Rule& rule, Op op);

}  // namespace intaglio::graph
