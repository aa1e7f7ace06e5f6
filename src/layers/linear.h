// Linear layers over the tensor-parallel group. The scope is the checkpoint's module: "<scope>.weight", "<scope>.bias".
#pragma once
#include <string_view>

#include "graph/builder.h"
#include "layers/shard.h"

namespace intaglio::layers {

enum class Bias : uint8_t { kNone, kAdded };

// y = x * transpose(W) + bias, W [out_features, K] split by rows, so each rank computes its own columns of y.
// `shard` says by what: kRows, kQueryHeads or kKvHeads.
[[nodiscard]] graph::ValueRef ColumnParallelLinear(const graph::Builder& b, graph::ValueRef x, int64_t out_features, Bias bias,
                                                   graph::Shard shard = graph::Shard::kRows);

// Whether the checkpoint has a tensor for each of several projections of one input, or one that stacks their rows.
enum class Storage : uint8_t { kSeparate, kStacked };
// Of a stacked tensor "<scope>.<module>.weight": the rows of one projection, by their place among all.
struct StackedRows {
  std::string_view module;
  int64_t first_row = 0, all_rows = 0;
};
struct Projection {
  std::string_view name;      // its scope, as if it had a tensor of its own
  int64_t out_features = 0;
  Bias bias = Bias::kNone;
  graph::Shard shard = graph::Shard::kRows;
};
// ColumnParallelLinear with the projection's rows of a stacked tensor.
[[nodiscard]] graph::ValueRef StackedLinear(const graph::Builder& b, graph::ValueRef x, const Projection& projection, const StackedRows& rows);

// How K is split over ranks: `shard` kColumns or kHeadColumns, and the canonical segments of that split.
struct KSplit {
  graph::Shard shard;
  graph::Segments segments;
};
// y = x * transpose(W) + bias, W split by columns: each rank sums its own segments of K, and the bias is added once, after the last sum.
[[nodiscard]] graph::ValueRef RowParallelLinear(const graph::Builder& b, graph::ValueRef x, int64_t out_features, Bias bias, const KSplit& split);

}  // namespace intaglio::layers
