// The decoder layer of the Gemma models: norms before and after attention and MLP, the later ones before the residual is added.
#pragma once
#include "models/architecture.h"

namespace intaglio::models {

[[nodiscard]] graph::ValueRef SandwichNormLayer(const graph::Builder& b, const LayerConfig& c, graph::ValueRef x);

}  // namespace intaglio::models
