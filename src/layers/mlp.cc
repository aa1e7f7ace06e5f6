#include "layers/mlp.h"

namespace intaglio::layers {

using graph::Builder;
using graph::ValueRef;

ValueRef GatedMlp(const Builder& b, ValueRef x, const MlpConfig& config) {
  b.Probe("mlp_in", x);
  const ValueRef gate = ColumnParallelLinear(b.In("gate_proj"), x, config.intermediate_size, config.bias);
  const ValueRef up = ColumnParallelLinear(b.In("up_proj"), x, config.intermediate_size, config.bias);
  const ValueRef activated = config.activation == Activation::kSilu ? Silu(b, gate) : GeluTanh(b, gate);
  const KSplit split{.shard = graph::Shard::kColumns, .segments = PlainSegments(config.intermediate_size)};
  return b.Probe("mlp_out", RowParallelLinear(b.In("down_proj"), Mul(b, activated, up), x.shape()[1], config.bias, split));
}

}  // namespace intaglio::layers
