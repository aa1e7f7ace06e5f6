// The text form of a graph: stable, one line a node.
//
//   context_encoding graph: 4 rows, 2 outputs, max_context 32
//   weights
//     model.norm.weight f32 [8] vector + 1 <- model.norm.weight replicated
//   kv_caches
//     layer 0: 1 heads x 4, window 16
//   nodes
//     %6 [4, 8] = embedding %tokens, @model.embed_tokens.weight {scale 2.8284271}  # model.embed_tokens: hidden.embed
//   results
//     logits %20, ids %21, logprobs %22
#pragma once
#include <string>

#include "graph/graph.h"

namespace intaglio::graph {

// %7 is a value that a node makes, %tokens a step input, @name a weight, and $3 the KV cache of layer 3 ($3.9: as node output %9 left
// it). Works for broken graphs too.
[[nodiscard]] std::string Print(const Graph& graph);

}  // namespace intaglio::graph
