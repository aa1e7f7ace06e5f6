// The text form of a graph: stable, one line a node.
//
//   context_encoding graph: 4 rows, 2 outputs, max_context 32
//   weights
//     model.norm.weight [8] vector + 1 <- replicated          (declared by a layer: layout, what is added, how ranks share it)
//   kv_caches
//     layer 0: 1 x 4, window 16                               (KV heads x head_dim)
//   nodes
//     %9 [4, 8] = rope %8, %positions, @rope {head_dim 4, rotary_dim 4, halves}  # model.layers.0.self_attn: layer0.q_rope
//   results
//     logits %29, ids %30, logprobs %31
#pragma once
#include <string>

#include "graph/graph.h"

namespace intaglio::graph {

// %7 is a value that a node makes, %tokens a step input, @name a weight, and $3 the KV cache of layer 3 ($3.9: as node output %9 left
// it). Works for broken graphs too.
[[nodiscard]] std::string Print(const Graph& graph);

}  // namespace intaglio::graph
