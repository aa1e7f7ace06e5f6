// The feed-forward block, gated or plain.
#pragma once
#include "layers/linear.h"

namespace intaglio::layers {

enum class Activation : uint8_t { kSilu, kGeluTanh, kGelu };

struct MlpConfig {
  int64_t intermediate_size = 0;
  Activation activation = Activation::kSilu;
  Bias bias = Bias::kNone;   // of all three projections
  Storage gate_up = Storage::kSeparate;   // stacked: "gate_up_proj", gate first
  float gate_scale = 1.0f, out_scale = 1.0f;   // of gate_proj's and of down_proj's result
};

[[nodiscard]] graph::ValueRef Activate(const graph::Builder& b, graph::ValueRef x, Activation activation);

// down_proj(activation(gate_proj(x)) * up_proj(x))
[[nodiscard]] graph::ValueRef FeedForward(const graph::Builder& b, graph::ValueRef x, const MlpConfig& config);
struct PlainMlpScopes {
  std::string_view up, down;
};
// down(activation(up(x))): there is no gate.
[[nodiscard]] graph::ValueRef PlainMlp(const graph::Builder& b, graph::ValueRef x, const MlpConfig& config, const PlainMlpScopes& scopes);
// FeedForward as a layer's MLP. Probes: mlp_in, mlp_out.
[[nodiscard]] graph::ValueRef GatedMlp(const graph::Builder& b, graph::ValueRef x, const MlpConfig& config);

}  // namespace intaglio::layers
