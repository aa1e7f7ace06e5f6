// What every op asks of its operands and what it gives: the one place where shapes are known. The builder takes a node's outputs from
// here, the verifier compares them.
#pragma once
#include <vector>

#include "graph/graph.h"

namespace intaglio::graph {

// Columns of Sample's second output: log-probability of the chosen id, then 20 ids (as i32 bits) and their log-probabilities.
inline constexpr int64_t kLogprobCols = 41;
// What routing is made for.
inline constexpr int64_t kMaxExperts = 1024, kMaxTopK = 64;
// What the kernels of recurrent layers are made for: positions that a convolution reaches, and columns of a head on either side of a state.
inline constexpr int64_t kMaxConvTaps = 16, kMaxStateDim = 4096;

// The values that `node` produces: dtype, shape and, for a KV cache, which one. Throws std::logic_error naming op, scope, what was
// found and what was expected. REQUIRES: the ids in node.inputs are in range.
[[nodiscard]] std::vector<Value> InferOutputs(const Graph& graph, const Node& node);

// True for a KV cache, as declared or as left by KvUpdate. Its `index` points into Graph::kv_caches.
[[nodiscard]] bool IsKvCache(const Value& value);

}  // namespace intaglio::graph
