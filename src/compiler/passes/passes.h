// One function a pass, each in a file of its own name.
#pragma once
#include "compiler/pipeline.h"
#include "graph/graph.h"

namespace intaglio::compiler {

// Two or three MatMuls of one input (q, k, v) -> one MatMul with the weights stacked by rows, and column slices.
void FuseQkv(graph::Graph& graph, const PassOptions& options);
// act(MatMul(x, gate)) * MatMul(x, up) -> one MatMul and a gated activation.
void FuseGateUp(graph::Graph& graph, const PassOptions& options);
// Rope(RmsNorm(x)) -> NormRope: one walk over q and k instead of two.
void FuseNormRope(graph::Graph& graph, const PassOptions& options);
// residual + MatMul(x) -> MatMul with a residual operand, added where the sum is stored.
void FuseResidual(graph::Graph& graph, const PassOptions& options);
// Checks that every KV cache is updated once and read only afterwards: only then may the update write in place.
void AliasKv(graph::Graph& graph, const PassOptions& options);
// Drops nodes whose results nobody reads, values that nothing makes any more, and weights that no node uses. Runs after every other pass.
void RemoveDeadCode(graph::Graph& graph, const PassOptions& options);

}  // namespace intaglio::compiler
