#include "layers/linear.h"

#include <numeric>
#include <utility>

#include "base/strings.h"

namespace intaglio::layers {

using graph::Builder;
using graph::Layout;
using graph::Shard;
using graph::ValueRef;
using graph::WeightSource;

namespace {

ValueRef DeclareBias(const Builder& b, const OwnRows& rows, Bias bias) {
  return bias == Bias::kNone ? ValueRef{} : DeclareRows(b, rows, {.name = "bias"});
}

// The rank's columns of "<scope>.weight" [out_features, K].
ValueRef DeclareColumns(const Builder& b, int64_t out_features, const KSplit& split) {
  const Range own = Own(split.segments, b.place());
  WeightSource source{.name = b.In("weight").scope(), .shape = {out_features, split.segments.back()}, .shard = split.shard};
  if (own.size() != split.segments.back()) source.first_k = own.begin, source.num_k = own.size();
  return b.Declare({.name = "weight", .shape = {out_features, own.size()}, .layout = Layout::kMatmul, .sources = {std::move(source)}});
}

}  // namespace

int64_t OwnRows::size() const {
  return std::accumulate(ranges.begin(), ranges.end(), int64_t{0}, [](int64_t sum, const Range& range) { return sum + range.size(); });
}

OwnRows EveryRow(int64_t all, Shard shard) { return {.all = all, .ranges = {{0, all}}, .shard = shard}; }

OwnRows PlainRows(const Builder& b, int64_t all) { return {.all = all, .ranges = {Own(PlainSegments(all), b.place())}}; }

ValueRef DeclareRows(const Builder& b, const OwnRows& rows, const RowWeight& weight) {
  Shape shape{rows.size()}, all{rows.all};
  if (weight.cols != 0) shape.push_back(weight.cols), all.push_back(weight.cols);
  const WeightSource whole{.name = b.In(weight.name).scope(), .shape = std::move(all), .shard = rows.shard};
  std::vector<WeightSource> sources;
  for (const Range& range : rows.ranges) {
    WeightSource& source = sources.emplace_back(whole);
    if (range.size() != rows.all) source.first_row = range.begin, source.num_rows = range.size();
  }
  return b.Declare(
      {.name = std::string(weight.name), .shape = std::move(shape), .layout = weight.layout, .sources = std::move(sources), .add = weight.add});
}

ValueRef ColumnParallelLinear(const Builder& b, ValueRef x, const OwnRows& rows, Bias bias) {
  const int64_t k = x.shape()[1];
  const ValueRef weight = DeclareRows(b, rows, {.cols = k, .layout = Layout::kMatmul});
  return MatMul(b, {.x = x, .weight = weight, .bias = DeclareBias(b, rows, bias)}, PlainSegments(k));
}

std::vector<WeightSource> RowsOf(const WeightSource& whole, const RowRuns& runs) {
  std::vector<WeightSource> sources;
  const int64_t step = runs.takes_pairs_apart ? 2 : 1;
  for (int64_t run = 0; run < runs.count; ++run) {
    for (int64_t part = 0; part < step; ++part) {
      WeightSource& source = sources.emplace_back(whole);
      source.first_row = runs.first_row + run * runs.step + part;
      source.num_rows = runs.rows / step;
      source.row_step = step;
    }
  }
  return sources;
}

ValueRef StackedLinear(const Builder& b, ValueRef x, const Projection& projection, const StackedRows& rows) {
  const int64_t k = x.shape()[1];
  const auto declare = [&](const char* suffix, const Shape& row_shape, Layout layout) {
    Shape shape = row_shape, all = row_shape;
    all.insert(all.begin(), rows.all_rows);
    const WeightSource whole{.name = StrCat(b.scope(), '.', rows.module, suffix), .shape = std::move(all), .shard = projection.shard};
    std::vector<WeightSource> sources;
    int64_t n = 0;
    for (const RowRuns& runs : rows.runs) {
      for (WeightSource& source : RowsOf(whole, runs)) sources.push_back(std::move(source));
      n += runs.rows * runs.count;
    }
    shape.insert(shape.begin(), n);
    return b.Declare({.name = StrCat(projection.name, suffix), .shape = std::move(shape), .layout = layout, .sources = std::move(sources)});
  };
  const ValueRef weight = declare(".weight", {k}, Layout::kMatmul);
  const ValueRef bias = projection.bias == Bias::kNone ? ValueRef{} : declare(".bias", {}, Layout::kVector);
  return MatMul(b.In(projection.name), {.x = x, .weight = weight, .bias = bias}, PlainSegments(k));
}

ValueRef RowParallelLinear(const Builder& b, ValueRef x, int64_t out_features, Bias bias, const KSplit& split) {
  const OwnRows outputs = EveryRow(out_features);
  if (b.place().is_alone())
    return MatMul(b, {.x = x, .weight = DeclareColumns(b, out_features, split), .bias = DeclareBias(b, outputs, bias)}, split.segments);
  const OwnSum sum = SumOf(split.segments, b.place());
  const ValueRef part =
      x.graph == nullptr ? Zeros(b, out_features) : MatMul(b, {.x = x, .weight = DeclareColumns(b, out_features, split)}, sum.segments, sum.leaves);
  const ValueRef y = AllReduce(b, part);
  return bias == Bias::kNone ? y : AddBias(b, y, DeclareBias(b, outputs, bias));
}

ValueRef ProbeWhole(const Builder& b, std::string_view name, ValueRef value) { return b.place().is_alone() ? b.Probe(name, value) : value; }

}  // namespace intaglio::layers
