// Root-mean-square normalisation, and the layer norm of encoders.
#pragma once
#include "layers/linear.h"

namespace intaglio::layers {

struct NormConfig {
  float eps = 0;
  float add = 0;   // to every weight: Gemma stores its norm weights minus one
};

// x / rms(x) * "<scope>.weight", over whole rows.
[[nodiscard]] graph::ValueRef RmsNorm(const graph::Builder& b, graph::ValueRef x, const NormConfig& config);
// The same over each head's `head_dim` columns, with one weight for all heads.
[[nodiscard]] graph::ValueRef HeadRmsNorm(const graph::Builder& b, graph::ValueRef x, int64_t head_dim, const NormConfig& config);

// Each head's columns divided by their root mean square; no weight.
[[nodiscard]] graph::ValueRef UnweightedHeadNorm(const graph::Builder& b, graph::ValueRef x, int64_t head_dim, float eps);

// Over rows of heads that ranks share: x has the columns `own` of them, the weight likewise, and the sum of squares is the tree over
// `segments`. A column that several ranks have is counted by the one that owns its segment. Null for a rank without any columns (x null).
[[nodiscard]] graph::ValueRef SharedRmsNorm(const graph::Builder& b, graph::ValueRef x, const NormConfig& config, const OwnRows& own,
                                            const graph::Segments& segments);

// (x - mean) / deviation * "<scope>.weight" + "<scope>.bias", over whole rows.
[[nodiscard]] graph::ValueRef LayerNorm(const graph::Builder& b, graph::ValueRef x, float eps);

}  // namespace intaglio::layers
