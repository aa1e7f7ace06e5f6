// Linear layers over the tensor-parallel group. The scope is the checkpoint's module: "<scope>.weight", "<scope>.bias".
#pragma once
#include <string_view>
#include <vector>

#include "graph/builder.h"
#include "layers/shard.h"

namespace intaglio::layers {

enum class Bias : uint8_t { kNone, kAdded };

// Of a tensor with `all` rows those that this rank has, range after range; a row may be there several times.
struct OwnRows {
  int64_t all = 0;
  std::vector<Range> ranges;
  graph::Shard shard = graph::Shard::kRows;   // by what eight ranks would cut it
  [[nodiscard]] int64_t size() const;
};
[[nodiscard]] OwnRows EveryRow(int64_t all, graph::Shard shard = graph::Shard::kReplicated);
// Of whole units of 16, shared out evenly.
[[nodiscard]] OwnRows PlainRows(const graph::Builder& b, int64_t all);

// The rank's rows of "<scope>.<name>" [rows.all, cols]; cols 0: of a vector, one element a row. `layout` kMatmul, kVector or kTable.
struct RowWeight {
  std::string_view name = "weight";
  int64_t cols = 0;
  graph::Layout layout = graph::Layout::kVector;
  float add = 0;   // to every element
};
[[nodiscard]] graph::ValueRef DeclareRows(const graph::Builder& b, const OwnRows& rows, const RowWeight& weight);

// y = x * transpose(W) + bias, W [rows.all, K] split by rows: each rank computes its own columns of y.   REQUIRES: the rank has some
[[nodiscard]] graph::ValueRef ColumnParallelLinear(const graph::Builder& b, graph::ValueRef x, const OwnRows& rows, Bias bias);

// Whether the checkpoint has a tensor for each of several projections of one input, or one that stacks their rows.
enum class Storage : uint8_t { kSeparate, kStacked };
// Rows of a tensor that belong together: `count` runs of `rows`, each `step` rows after the one before (one run a head).
struct RowRuns {
  int64_t first_row = 0, rows = 0, count = 1, step = 0;
  bool takes_pairs_apart = false;   // even rows of a run first, then odd ones: rotary pairs that are neighbours
};
// The sources of such rows; `whole` names the tensor they are in.
[[nodiscard]] std::vector<graph::WeightSource> RowsOf(const graph::WeightSource& whole, const RowRuns& runs);
// Of a stacked tensor "<scope>.<module>.weight" with `all_rows`: this rank's rows of one projection.
struct StackedRows {
  std::string_view module;
  int64_t all_rows = 0;
  std::vector<RowRuns> runs;
};
struct Projection {
  std::string_view name;      // its scope, as if it had a tensor of its own
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
// x [R, the rank's columns]; null from a rank that has none.
[[nodiscard]] graph::ValueRef RowParallelLinear(const graph::Builder& b, graph::ValueRef x, int64_t out_features, Bias bias, const KSplit& split);

// Builder::Probe, where this rank has all of the value.
graph::ValueRef ProbeWhole(const graph::Builder& b, std::string_view name, graph::ValueRef value);

}  // namespace intaglio::layers
