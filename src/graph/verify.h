// Checks everything that passes and lowering rely on. Run after every pass: a graph that fails is a bug of ours.
#pragma once
#include <string_view>

#include "graph/graph.h"

namespace intaglio::graph {

// Returns if `graph` is sound, else throws std::logic_error "after <stage>: node 12: matmul in model.layers.0.mlp: …".
//  - sizes, weights (unique names, sources that add up to the shape) and KV caches (one a layer) make sense
//  - every value comes from exactly one place, and before its first use; step inputs are declared once, with the phase's sizes
//  - every node has the operands, shapes, element types and attributes of its op (infer.h)
//  - a KV cache is used linearly: updated once, and not read in its old state after that
//  - a rank's part of a sum is read by AllReduce alone, which reads nothing else
//  - logits, ids and logprobs are there with their shapes, probes and labels name values that exist, labels are unique
void Verify(const Graph& graph, std::string_view stage);

}  // namespace intaglio::graph
