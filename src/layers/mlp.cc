#include "layers/mlp.h"

namespace intaglio::layers {

using graph::Builder;
using graph::ValueRef;

ValueRef Activate(const Builder& b, ValueRef x, Activation activation) {
  switch (activation) {
    case Activation::kSilu:
      return Silu(b, x);
    case Activation::kGeluTanh:
      return GeluTanh(b, x);
    case Activation::kGelu:
      return Gelu(b, x);
  }
  return x;
}

ValueRef FeedForward(const Builder& b, ValueRef x, const MlpConfig& config) {
  const int64_t size = config.intermediate_size;
  const auto project = [&](std::string_view name, int64_t first_row) {
    if (config.gate_up == Storage::kSeparate) return ColumnParallelLinear(b.In(name), x, size, config.bias);
    return StackedLinear(b, x, {.name = name, .out_features = size, .bias = config.bias},
                         {.module = "gate_up_proj", .all_rows = 2 * size, .runs = {.first_row = first_row}});
  };
  const ValueRef gate = project("gate_proj", 0);
  const ValueRef up = project("up_proj", size);
  const ValueRef activated = Activate(b, Scale(b, gate, config.gate_scale), config.activation);
  const KSplit split{.shard = graph::Shard::kColumns, .segments = PlainSegments(config.intermediate_size)};
  const ValueRef y = RowParallelLinear(b.In("down_proj"), Mul(b, activated, up), x.shape()[1], config.bias, split);
  return Scale(b, y, config.out_scale);
}

ValueRef GatedMlp(const Builder& b, ValueRef x, const MlpConfig& config) { return b.Probe("mlp_out", FeedForward(b, b.Probe("mlp_in", x), config)); }

}  // namespace intaglio::layers
