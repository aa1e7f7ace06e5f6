#include "layers/shared_expert.h"

namespace intaglio::layers {

graph::ValueRef GatedSharedExpert(const graph::Builder& b, graph::ValueRef x, const MlpConfig& config) {
  const graph::ValueRef y = FeedForward(b.In("shared_expert"), x, config);
  return SigmoidGate(b, y, ColumnParallelLinear(b.In("shared_expert_gate"), x, 1, Bias::kNone, graph::Shard::kReplicated));
}

}  // namespace intaglio::layers
