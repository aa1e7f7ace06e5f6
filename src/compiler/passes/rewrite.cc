#include "compiler/passes/rewrite.h"

#include <algorithm>

#include "base/assert.h"

namespace intaglio::compiler {

using graph::Graph;
using graph::Node;
using graph::ValueId;

std::vector<int> CountUses(const Graph& graph) {
  std::vector<int> uses(graph.values.size());
  for (const Node& node : graph.nodes) {
    for (ValueId input : node.inputs) ++uses[static_cast<size_t>(input)];
  }
  for (ValueId result : {graph.logits, graph.ids, graph.logprobs, graph.embeddings}) {
    if (result != graph::kNoValue) ++uses[static_cast<size_t>(result)];
  }
  return uses;
}

std::set<ValueId> KeptProbes(const Graph& graph, const PassOptions& options) {
  std::set<ValueId> kept;
  if (!options.keep_probes) return kept;
  for (const auto& [name, value] : graph.probes) kept.insert(value);
  return kept;
}

std::optional<size_t> ProducerOf(const Graph& graph, ValueId value) {
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    if (std::ranges::find(graph.nodes[i].outputs, value) != graph.nodes[i].outputs.end()) return i;
  }
  return std::nullopt;
}

std::string ParentScope(const std::string& scope) { return scope.substr(0, scope.rfind('.')); }

ValueId AddValue(Graph& graph, Shape shape) {
  graph.values.push_back({.source = graph::Source::kNode, .dtype = DType::kF32, .shape = std::move(shape), .index = 0, .label = {}});
  return static_cast<ValueId>(graph.values.size() - 1);
}

const graph::Weight& WeightOf(const Graph& graph, const Node& matmul) {
  return graph.weights[static_cast<size_t>(graph.value(matmul.inputs[1]).index)];
}

ValueId StackWeights(Graph& graph, const std::vector<ValueId>& parts, const std::string& name) {
  graph::Weight stacked{.name = name, .shape = {}, .layout = graph::Layout::kMatmul, .sources = {}, .add = 0, .constant = nullptr};
  for (ValueId part : parts) {
    const graph::Weight& weight = graph.weights[static_cast<size_t>(graph.value(part).index)];
    if (stacked.shape.empty()) {
      stacked.shape = weight.shape;
      stacked.layout = weight.layout;
      stacked.add = weight.add;
      stacked.dtype = weight.dtype, stacked.unit_k = weight.unit_k;
    } else {
      Assert(weight.layout == stacked.layout && weight.dtype == stacked.dtype && weight.add == stacked.add &&
             weight.shape.back() == (weight.shape.size() == 2 ? stacked.shape.back() : weight.shape.back()));
      stacked.shape[0] += weight.shape[0];
    }
    stacked.sources.insert(stacked.sources.end(), weight.sources.begin(), weight.sources.end());
  }
  graph.values.push_back({.source = graph::Source::kWeight,
                          .dtype = DType::kF32,
                          .shape = stacked.shape,
                          .index = static_cast<int32_t>(graph.weights.size()),
                          .label = {}});
  graph.weights.push_back(std::move(stacked));
  return static_cast<ValueId>(graph.values.size() - 1);
}

}  // namespace intaglio::compiler
