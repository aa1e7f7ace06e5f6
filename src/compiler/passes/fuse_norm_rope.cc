// Qwen 3 and Gemma 3 normalise every query and key head and then rotate it: one walk instead of two.
#include "compiler/passes/passes.h"
#include "compiler/passes/rewrite.h"

namespace intaglio::compiler {

using graph::Node;
using graph::Op;

void FuseNormRope(graph::Graph& graph, const PassOptions& options) {
  const auto kept = KeptProbes(graph, options);
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    if (graph.nodes[i].op != Op::kRope) continue;
    const graph::ValueId normed = graph.nodes[i].inputs[0];
    const auto producer = ProducerOf(graph, normed);
    if (!producer || graph.nodes[*producer].op != Op::kRmsNorm || CountUses(graph)[static_cast<size_t>(normed)] != 1 || kept.contains(normed))
      continue;
    const Node norm = graph.nodes[*producer];
    const auto& norm_attrs = std::get<graph::NormAttrs>(norm.attrs);
    Node& rope = graph.nodes[i];
    auto attrs = std::get<graph::RopeAttrs>(rope.attrs);
    if (norm_attrs.width != attrs.head_dim || norm_attrs.is_segmented()) continue;
    attrs.eps = norm_attrs.eps;
    rope = {.op = Op::kNormRope,
            .inputs = {norm.inputs[0], rope.inputs[1], rope.inputs[2], norm.inputs[1]},
            .outputs = rope.outputs,
            .attrs = attrs,
            .scope = rope.scope};
    graph.nodes.erase(graph.nodes.begin() + static_cast<ptrdiff_t>(*producer));
    --i;
  }
}

}  // namespace intaglio::compiler
