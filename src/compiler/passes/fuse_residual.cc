// residual + x W^T: the matmul adds the residual where it stores its sum, which saves a walk over both.
#include "compiler/passes/passes.h"
#include "compiler/passes/rewrite.h"

namespace intaglio::compiler {

using graph::MatMulAttrs;
using graph::Node;
using graph::Op;
using graph::ValueId;

void FuseResidual(graph::Graph& graph, const PassOptions& options) {
  const auto kept = KeptProbes(graph, options);
  const std::vector<int> uses = CountUses(graph);
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    if (graph.nodes[i].op != Op::kAdd) continue;
    for (size_t side : {1u, 0u}) {
      const ValueId sum = graph.nodes[i].inputs[side], residual = graph.nodes[i].inputs[1 - side];
      const auto producer = ProducerOf(graph, sum);
      if (!producer || graph.nodes[*producer].op != Op::kMatMul || uses[static_cast<size_t>(sum)] != 1 || kept.contains(sum)) continue;
      Node matmul = graph.nodes[*producer];
      auto& attrs = std::get<MatMulAttrs>(matmul.attrs);
      if (attrs.has_residual) continue;
      attrs.has_residual = true;
      matmul.inputs.push_back(residual);
      matmul.outputs = graph.nodes[i].outputs;
      graph.nodes[i] = std::move(matmul);  // where the addition stood: the residual is there by then
      graph.nodes.erase(graph.nodes.begin() + static_cast<ptrdiff_t>(*producer));
      --i;
      break;
    }
  }
}

}  // namespace intaglio::compiler
