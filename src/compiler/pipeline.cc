#include "compiler/pipeline.h"

#include "compiler/passes/passes.h"
#include "graph/verify.h"

namespace intaglio::compiler {

void RunPipeline(graph::Graph& graph, const PassOptions& options) {
  struct Pass {
    const char* name;
    void (*run)(graph::Graph&, const PassOptions&);
  };
  static constexpr Pass kPasses[] = {
      {"fuse_gate_up", FuseGateUp}, {"fuse_qkv", FuseQkv}, {"fuse_norm_rope", FuseNormRope}, {"fuse_residual", FuseResidual}, {"alias_kv", AliasKv}};
  for (const Pass& pass : kPasses) {
    pass.run(graph, options);
    RemoveDeadCode(graph, options);
    graph::Verify(graph, pass.name);
  }
}

}  // namespace intaglio::compiler
