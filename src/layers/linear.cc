#include "layers/linear.h"

#include "base/strings.h"

namespace intaglio::layers {

using graph::Builder;
using graph::Layout;
using graph::Shard;
using graph::ValueRef;

namespace {

ValueRef DeclareBias(const Builder& b, int64_t out_features, Bias bias, Shard shard) {
  return bias == Bias::kNone ? ValueRef{} : b.Weight("bias", {out_features}, shard, Layout::kVector);
}

}  // namespace

ValueRef ColumnParallelLinear(const Builder& b, ValueRef x, int64_t out_features, Bias bias, Shard shard) {
  const int64_t k = x.shape()[1];
  const ValueRef weight = b.Weight("weight", {out_features, k}, shard, Layout::kMatmul);
  return MatMul(b, {.x = x, .weight = weight, .bias = DeclareBias(b, out_features, bias, shard)}, PlainSegments(k));
}

std::vector<graph::WeightSource> RowsOf(const graph::WeightSource& whole, const RowRuns& runs, int64_t num_rows) {
  std::vector<graph::WeightSource> sources;
  const int64_t step = runs.takes_pairs_apart ? 2 : 1;
  for (int64_t run = 0; run < runs.count; ++run) {
    for (int64_t part = 0; part < step; ++part) {
      graph::WeightSource& source = sources.emplace_back(whole);
      source.first_row = runs.first_row + run * runs.step + part;
      source.num_rows = num_rows / runs.count / step;
      source.row_step = step;
    }
  }
  return sources;
}

ValueRef StackedLinear(const Builder& b, ValueRef x, const Projection& projection, const StackedRows& rows) {
  const int64_t k = x.shape()[1], n = projection.out_features;
  const auto declare = [&](const char* suffix, const Shape& row_shape, Layout layout) {
    Shape shape = row_shape, all = row_shape;
    shape.insert(shape.begin(), n), all.insert(all.begin(), rows.all_rows);
    return b.Declare(
        {.name = StrCat(projection.name, suffix),
         .shape = shape,
         .layout = layout,
         .sources = RowsOf({.name = StrCat(b.scope(), '.', rows.module, suffix), .shape = all, .shard = projection.shard}, rows.runs, n)});
  };
  const ValueRef weight = declare(".weight", {k}, Layout::kMatmul);
  const ValueRef bias = projection.bias == Bias::kNone ? ValueRef{} : declare(".bias", {}, Layout::kVector);
  return MatMul(b.In(projection.name), {.x = x, .weight = weight, .bias = bias}, PlainSegments(k));
}

ValueRef RowParallelLinear(const Builder& b, ValueRef x, int64_t out_features, Bias bias, const KSplit& split) {
  const ValueRef weight = b.Weight("weight", {out_features, x.shape()[1]}, split.shard, Layout::kMatmul);
  return MatMul(b, {.x = x, .weight = weight, .bias = DeclareBias(b, out_features, bias, Shard::kReplicated)}, split.segments);
}

}  // namespace intaglio::layers
