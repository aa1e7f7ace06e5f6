#include "parity/module_graph.h"

#include <algorithm>

#include "base/fail.h"
#include "graph/infer.h"

namespace intaglio::parity {
namespace {

using graph::Graph;
using graph::Node;
using graph::Op;
using graph::ValueId;

ValueId FindProbe(const Graph& graph, const std::string& name) {
  const auto probe = graph.probes.find(name);
  Require(probe != graph.probes.end(), ErrorCode::kInvalidArgument, "module: the model has no value ", name,
          "; layers of this kind may lack the module, see `intaglio inspect --graph` for the values it has");
  return probe->second;
}

// The nodes that `output` needs, back to `input`.
std::vector<Node> NodesBetween(const Graph& graph, ValueId input, ValueId output, const ModuleEnds& ends) {
  std::vector<bool> is_needed(graph.values.size());
  is_needed[static_cast<size_t>(output)] = true;
  std::vector<Node> nodes;
  for (auto node = graph.nodes.rbegin(); node != graph.nodes.rend(); ++node) {
    const bool makes_input = std::ranges::find(node->outputs, input) != node->outputs.end();
    if (makes_input || std::ranges::none_of(node->outputs, [&](ValueId id) { return is_needed[static_cast<size_t>(id)]; })) continue;
    Require(node->op != Op::kEmbedding, ErrorCode::kInvalidArgument, "module: ", ends.to, " depends on more than ", ends.from,
            "; choose the module around both");
    for (ValueId id : node->inputs) is_needed[static_cast<size_t>(id)] = true;
    nodes.push_back(*node);
  }
  Require(is_needed[static_cast<size_t>(input)] && input != output, ErrorCode::kInvalidArgument, "module: ", ends.to, " is not computed from ",
          ends.from, " in this model");
  std::ranges::reverse(nodes);
  return nodes;
}

std::vector<ValueId> Append(Graph& graph, Op op, std::vector<ValueId> inputs, graph::Attrs attrs) {
  Node node{.op = op, .inputs = std::move(inputs), .outputs = {}, .attrs = attrs, .scope = "module"};
  for (graph::Value& value : InferOutputs(graph, node)) {
    graph.values.push_back(std::move(value));
    node.outputs.push_back(static_cast<ValueId>(graph.values.size() - 1));
  }
  graph.nodes.push_back(node);
  return node.outputs;
}

}  // namespace

ModuleEnds EndsOf(ModuleKind kind, int64_t layer, int64_t num_layers) {
  const std::string prefix = StrCat("layer", layer, '.');
  const std::string before = layer == 0 ? "hidden.embed" : StrCat("hidden.layer", layer - 1);
  switch (kind) {
    case ModuleKind::kAttention:
      return {.from = prefix + "attn_in", .to = prefix + "attn_out"};
    case ModuleKind::kMlp:
      return {.from = prefix + "mlp_in", .to = prefix + "mlp_out"};
    case ModuleKind::kInputNorm:
      return {.from = before, .to = prefix + "attn_in"};
    case ModuleKind::kDecoderLayer:
      return {.from = before, .to = StrCat("hidden.layer", layer)};
    case ModuleKind::kFinalNorm:
      break;
  }
  return {.from = StrCat("hidden.layer", num_layers - 1), .to = "hidden.final_norm"};
}

Graph CutModule(Graph graph, const ModuleEnds& ends) {
  const ValueId input = FindProbe(graph, ends.from), output = FindProbe(graph, ends.to);
  graph.nodes = NodesBetween(graph, input, output, ends);
  graph.values[static_cast<size_t>(input)].source = graph::Source::kActivation;
  const auto rows = std::ranges::find(graph.values, graph::Source::kOutputRows, &graph::Value::source) - graph.values.begin();
  graph.logits = Append(graph, Op::kGatherRows, {output, static_cast<ValueId>(rows)}, graph::NoAttrs{}).front();
  const std::vector<ValueId> sampled = Append(graph, Op::kSample, {graph.logits}, graph::SampleAttrs{});
  graph.ids = sampled[0], graph.logprobs = sampled[1];
  graph.probes = {{ends.from, input}};
  return graph;
}

}  // namespace intaglio::parity
