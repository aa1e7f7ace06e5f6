// What fusing left behind: nodes without readers (last first, so that chains go in one walk) and weights without users.
#include <algorithm>

#include "compiler/passes/passes.h"
#include "compiler/passes/rewrite.h"

namespace intaglio::compiler {
namespace {

using graph::Graph;
using graph::Node;
using graph::Source;
using graph::ValueId;

// What others see of a node besides its outputs: a cache, or that this rank was there when ranks met. One that has no use for what came of
// it, such as a norm over heads of which it has none, brings its part all the same.
bool HasEffect(const Node& node) {
  switch (node.op) {
    case graph::Op::kKvUpdate:
    case graph::Op::kAllReduce:
    case graph::Op::kAllGather:
    case graph::Op::kExpertExchange:
    case graph::Op::kRowGather:
      return true;
    default:
      return false;
  }
}

void RemoveNodes(Graph& graph, const std::set<ValueId>& kept) {
  std::vector<int> uses = CountUses(graph);
  for (size_t i = graph.nodes.size(); i-- > 0;) {
    const Node& node = graph.nodes[i];
    const bool is_live =
        HasEffect(node) || std::ranges::any_of(node.outputs, [&](ValueId out) { return uses[static_cast<size_t>(out)] > 0 || kept.contains(out); });
    if (is_live) continue;
    for (ValueId input : node.inputs) --uses[static_cast<size_t>(input)];
    graph.nodes.erase(graph.nodes.begin() + static_cast<ptrdiff_t>(i));
  }
}

// Drops values that nothing makes or reads any more (fused-away results, replaced weights) and renumbers the others.
void RemoveValues(Graph& graph, const std::set<ValueId>& kept) {
  std::vector<bool> is_used(graph.values.size());
  for (size_t i = 0; i < graph.values.size(); ++i) is_used[i] = graph.values[i].source != Source::kNode && graph.values[i].source != Source::kWeight;
  const auto mark = [&](ValueId id) { is_used[static_cast<size_t>(id)] = true; };
  for (const Node& node : graph.nodes) {
    for (ValueId id : node.inputs) mark(id);
    for (ValueId id : node.outputs) mark(id);
  }
  for (ValueId id : kept) mark(id);
  std::erase_if(graph.probes, [&](const auto& probe) { return !is_used[static_cast<size_t>(probe.second)]; });

  std::vector<ValueId> new_ids(graph.values.size(), graph::kNoValue);
  std::vector<graph::Value> values;
  std::vector<graph::Weight> weights;
  for (size_t i = 0; i < graph.values.size(); ++i) {
    if (!is_used[i]) continue;
    new_ids[i] = static_cast<ValueId>(values.size());
    values.push_back(graph.values[i]);
    if (values.back().source != Source::kWeight) continue;
    weights.push_back(graph.weights[static_cast<size_t>(values.back().index)]);
    values.back().index = static_cast<int32_t>(weights.size() - 1);
  }
  const auto renumber = [&](ValueId& id) { id = id == graph::kNoValue ? id : new_ids[static_cast<size_t>(id)]; };
  for (Node& node : graph.nodes) {
    std::ranges::for_each(node.inputs, renumber);
    std::ranges::for_each(node.outputs, renumber);
  }
  for (auto& [name, id] : graph.probes) renumber(id);
  for (ValueId* id : {&graph.logits, &graph.ids, &graph.logprobs, &graph.embeddings}) renumber(*id);
  graph.values = std::move(values);
  graph.weights = std::move(weights);
}

}  // namespace

void RemoveDeadCode(Graph& graph, const PassOptions& options) {
  const auto kept = KeptProbes(graph, options);
  RemoveNodes(graph, kept);
  RemoveValues(graph, kept);
}

}  // namespace intaglio::compiler
