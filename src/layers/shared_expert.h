// An MLP that every row goes through, beside the experts that it chooses.
#pragma once
#include "layers/mlp.h"

namespace intaglio::layers {

// shared_expert(x) * sigmoid(shared_expert_gate(x)); the gate is one number a row.
[[nodiscard]] graph::ValueRef GatedSharedExpert(const graph::Builder& b, graph::ValueRef x, const MlpConfig& config);

}  // namespace intaglio::layers
