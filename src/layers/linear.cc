#include "layers/linear.h"

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

ValueRef RowParallelLinear(const Builder& b, ValueRef x, int64_t out_features, Bias bias, const KSplit& split) {
  const ValueRef weight = b.Weight("weight", {out_features, x.shape()[1]}, split.shard, Layout::kMatmul);
  return MatMul(b, {.x = x, .weight = weight, .bias = DeclareBias(b, out_features, bias, Shard::kReplicated)}, split.segments);
}

}  // namespace intaglio::layers
