// Mamba-2: a selective state space model. Every value head has a state that decays by a step of the token's own length. From Dao and Gu,
// "Transformers are SSMs" (arXiv 2405.21060), as modeling_falcon_h1.py has it.
#pragma once
#include <array>
#include <limits>
#include <optional>

#include "layers/linear.h"
#include "layers/norm.h"

namespace intaglio::layers {

enum class GateOrder : uint8_t { kNormFirst, kGateFirst };

struct MambaConfig {
  int64_t heads = 0, head_dim = 0, groups = 0, state_dim = 0;   // heads / groups heads share B and C
  int64_t taps = 0;                                             // of the convolution
  Bias conv_bias = Bias::kAdded, in_bias = Bias::kNone, out_bias = Bias::kNone;
  float least_step = 0, most_step = std::numeric_limits<float>::infinity();
  std::optional<NormConfig> norm{};                             // of each group
  GateOrder order = GateOrder::kNormFirst;                      // where there is a norm
  float in_scale = 1, out_scale = 1;                            // of what goes in and what comes out
  std::array<float, 5> scales{1, 1, 1, 1, 1};                   // of in_proj's zones: gate, values, B, C, dt
};

// x -> in_proj -> conv1d -> scan -> gate, [norm] -> out_proj
[[nodiscard]] graph::ValueRef Mamba(const graph::Builder& b, graph::ValueRef x, const MambaConfig& config);

}  // namespace intaglio::layers
