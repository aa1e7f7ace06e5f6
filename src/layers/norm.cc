#include "layers/norm.h"

#include <algorithm>
#include <vector>

#include "base/assert.h"

namespace intaglio::layers {

using graph::Builder;
using graph::ValueRef;

namespace {

// Where the columns that a rank counts stand among those that it has, in order. There are several places where KV heads are copied.
std::vector<Range> PlacesOf(const Range& counted, const OwnRows& own) {
  std::vector<Range> places;
  for (int64_t column = counted.begin; column < counted.end;) {
    Range longest{}, found{};
    int64_t place = 0;
    for (const Range& range : own.ranges) {
      const Range part{column, std::min(range.end, counted.end)};
      if (range.begin <= column && part.size() > longest.size())
        longest = part, found = {place + column - range.begin, place + part.end - range.begin};
      place += range.size();
    }
    Assert(!longest.is_empty());   // who owns a KV head has the first query head that reads it
    places.push_back(found);
    column = longest.end;
  }
  return Joined(places);
}

// [R, 1]: this rank's part of the sum of squares.
ValueRef SquaresOfOwn(const Builder& b, ValueRef x, const OwnRows& own, const graph::Segments& segments) {
  const std::vector<Range> places = PlacesOf(Own(segments, b.place()), own);
  if (places.empty()) return Zeros(b, 1);
  OwnSum sum = SumOf(segments, b.place());
  if (places.size() == 1) {
    for (int64_t& border : sum.segments) border += places.front().begin;
    return SquareSum(b, x, {.segments = sum.segments, .leaves = sum.leaves});
  }
  ValueRef counted{};
  for (const Range& place : places) {
    const ValueRef part = Slice(b, x, {.begin = place.begin, .size = place.size()});
    counted = counted.graph == nullptr ? part : HeadConcat(b, counted, part, {.heads = 1});
  }
  return SquareSum(b, counted, {.segments = sum.segments, .leaves = sum.leaves});
}

}  // namespace

ValueRef RmsNorm(const Builder& b, ValueRef x, const NormConfig& config) { return HeadRmsNorm(b, x, x.shape()[1], config); }

ValueRef HeadRmsNorm(const Builder& b, ValueRef x, int64_t head_dim, const NormConfig& config) {
  const ValueRef weight = b.Weight("weight", {head_dim}, graph::Shard::kReplicated, graph::Layout::kVector, config.add);
  return graph::RmsNorm(b, x, weight, {.eps = config.eps, .width = head_dim});
}

ValueRef UnweightedHeadNorm(const Builder& b, ValueRef x, int64_t head_dim, float eps) {
  const ValueRef ones = b.Declare({.name = "ones",
                                   .shape = {head_dim},
                                   .layout = graph::Layout::kVector,
                                   .sources = {},
                                   .constant = std::make_shared<const std::vector<float>>(static_cast<size_t>(head_dim), 1.0f)});
  return graph::RmsNorm(b, x, ones, {.eps = eps, .width = head_dim});
}

ValueRef SharedRmsNorm(const Builder& b, ValueRef x, const NormConfig& config, const OwnRows& own, const graph::Segments& segments) {
  const auto declare = [&] { return DeclareRows(b, own, {.name = "weight", .add = config.add}); };
  if (b.place().is_alone()) return graph::RmsNorm(b, x, declare(), {.eps = config.eps, .width = own.all, .segments = segments});
  const ValueRef sums = AllReduce(b, SquaresOfOwn(b, x, own, segments));
  return x.graph == nullptr ? ValueRef{} : NormBy(b, x, sums, declare(), {.eps = config.eps, .width = own.all});
}

ValueRef LayerNorm(const Builder& b, ValueRef x, float eps) {
  const auto declare = [&](const char* name) { return b.Weight(name, {x.shape()[1]}, graph::Shard::kReplicated, graph::Layout::kVector); };
  const ValueRef weight = declare("weight"), bias = declare("bias");
  return graph::LayerNorm(b, x, {.weight = weight, .bias = bias}, eps);
}

}  // namespace intaglio::layers
