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

namespace {

// activation(gate_proj(x)) * up_proj(x), this rank's columns of it; null if it has none.
ValueRef GatedColumns(const Builder& b, ValueRef x, const MlpConfig& config) {
  const int64_t size = config.intermediate_size;
  const OwnRows rows = PlainRows(b, size);
  if (rows.size() == 0) return {};
  const auto project = [&](std::string_view name, int64_t first_row) {
    if (config.gate_up == Storage::kSeparate) return ColumnParallelLinear(b.In(name), x, rows, config.bias);
    const RowRuns run{.first_row = first_row + rows.ranges.front().begin, .rows = rows.size()};
    return StackedLinear(b, x, {.name = name, .bias = config.bias}, {.module = "gate_up_proj", .all_rows = 2 * size, .runs = {run}});
  };
  const ValueRef gate = project("gate_proj", 0);
  const ValueRef up = project("up_proj", size);
  const ValueRef activated = Activate(b, Scale(b, gate, config.gate_scale), config.activation);
  return Mul(b, activated, up);
}

}  // namespace

ValueRef FeedForward(const Builder& b, ValueRef x, const MlpConfig& config) {
  const KSplit split{.shard = graph::Shard::kColumns, .segments = PlainSegments(config.intermediate_size)};
  const ValueRef y = RowParallelLinear(b.In("down_proj"), GatedColumns(b, x, config), x.shape()[1], config.bias, split);
  return Scale(b, y, config.out_scale);
}

ValueRef PlainMlp(const Builder& b, ValueRef x, const MlpConfig& config, const PlainMlpScopes& scopes) {
  const OwnRows rows = PlainRows(b, config.intermediate_size);
  const KSplit split{.shard = graph::Shard::kColumns, .segments = PlainSegments(config.intermediate_size)};
  ValueRef inner{};
  if (rows.size() != 0) inner = Activate(b, ColumnParallelLinear(b.In(scopes.up), x, rows, config.bias), config.activation);
  return RowParallelLinear(b.In(scopes.down), inner, x.shape()[1], config.bias, split);
}

ValueRef GatedMlp(const Builder& b, ValueRef x, const MlpConfig& config) { return b.Probe("mlp_out", FeedForward(b, b.Probe("mlp_in", x), config)); }

}  // namespace intaglio::layers
