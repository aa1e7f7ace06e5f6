// Linear layers over the tensor-parallel group. The scope is the checkpoint's module: "<scope>.weight", "<scope>.bias".
#pragma once
#include <string_view>
#include <vector>

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
// Rows of a tensor that belong together: `count` runs of one length, each `step` rows after the one before (one run a head).
struct RowRuns {
  int64_t first_row = 0, count = 1, step = 0;
  bool takes_pairs_apart = false;   // even rows of a run first, then odd ones: rotary pairs that are neighbours
};
// The sources of `num_rows` such rows; `whole` names the tensor they are in.
[[nodiscard]] std::vector<graph::WeightSource> RowsOf(const graph::WeightSource& whole, const RowRuns& runs, int64_t num_rows);
// Of a stacked tensor "<scope>.<module>.weight" with `all_rows`: the rows of one projection.
struct StackedRows {
  std::string_view module;
  int64_t all_rows = 0;
  RowRuns runs{};
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
