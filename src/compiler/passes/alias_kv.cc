// A KV update returns a new cache as a value; in memory it is the old one, written in place. That is sound because the old value has no
// reader after the update, which is checked here.
#include "base/assert.h"
#include "compiler/passes/passes.h"
#include "compiler/passes/rewrite.h"
#include "graph/infer.h"

namespace intaglio::compiler {

void AliasKv(graph::Graph& graph, const PassOptions&) {
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    if (graph.nodes[i].op != graph::Op::kKvUpdate) continue;
    const graph::ValueId before = graph.nodes[i].inputs[0], after = graph.nodes[i].outputs[0];
    for (size_t later = i + 1; later < graph.nodes.size(); ++later) {
      for (graph::ValueId input : graph.nodes[later].inputs) Assert(input != before);
    }
    Assert(graph::IsKvCache(graph.value(before)) && graph.value(before).index == graph.value(after).index);
  }
}

}  // namespace intaglio::compiler
