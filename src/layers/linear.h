// Linear layers over the tensor-parallel group. The scope is the checkpoint's module: "<scope>.weight", "<scope>.bias".
#pragma once
#include "graph/builder.h"
#include "layers/shard.h"

namespace intaglio::layers {

enum class Bias : uint8_t { kNone, kAdded };

// y = x * transpose(W) + bias, W [out_features, K] split by rows, so each rank computes its own columns of y.
// `shard` says by what: kRows, kQueryHeads or kKvHeads.
[[nodiscard]] graph::ValueRef ColumnParallelLinear(const graph::Builder& b, graph::ValueRef x, int64_t out_features, Bias bias,
                                                   graph::Shard shard = graph::Shard::kRows);

// How K is split over ranks: `shard` kColumns or kHeadColumns, and the canonical segments of that split.
struct KSplit {
  graph::Shard shard;
  graph::Segments segments;
};
// y = x * transpose(W) + bias, W split by columns: each rank sums its own segments of K, and the bias is added once, after the last sum.
[[nodiscard]] graph::ValueRef RowParallelLinear(const graph::Builder& b, graph::ValueRef x, int64_t out_features, Bias bias, const KSplit& split);

}  // namespace intaglio::layers
