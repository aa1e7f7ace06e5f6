// Mixture of experts: a router picks k experts for every row, each an MLP of its own, and their results are added. Statically shaped:
// k rows for every row of the step, in expert order; the matmuls touch only the experts that were chosen.
#pragma once
#include <optional>
#include <string>

#include "layers/mlp.h"

namespace intaglio::layers {

// How a checkpoint stores the experts' matrices; I is the intermediate size, H the hidden size.
enum class ExpertStorage : uint8_t {
  kSeparate,             // "<scope>.<e>.<gate>.weight" [I, H], "<up>" [I, H], "<down>" [H, I]
  kStacked,              // "<gate_up>" [E, 2 I, H] (gate rows, then up rows) and "<down>" [E, H, I]
  kStackedTransposed,    // "<gate_up>" [E, H, 2 I] and "<down>" [E, I, H]
  kStackedInterleaved,   // the same with gate and up columns alternating
  kMxfp4,                // "<gate_up>_blocks" [E, 2 I, H / 32, 16] with "<gate_up>_scales", gate and up rows alternating; "<down>_blocks" likewise
};

struct ExpertTensors {
  ExpertStorage storage = ExpertStorage::kSeparate;
  std::string gate = "gate_proj", up = "up_proj", gate_up{}, down = "down_proj";   // names; stacked: whole, below the experts' scope
  std::string scope = "experts";       // below the block's; empty: the block's own
};

enum class ExpertActivation : uint8_t { kSilu, kClamped };

struct MoeConfig {
  graph::RouteAttrs route;
  std::string router = "gate";          // its scope below the block's
  std::string correction_bias{};        // e.g. "gate.e_score_correction_bias"; empty: none
  Bias router_bias = Bias::kNone, expert_bias = Bias::kNone;   // expert biases: "<gate_up>_bias" [E, 2 I], "<down>_bias" [E, H]
  int64_t intermediate_size = 0;
  ExpertActivation activation = ExpertActivation::kSilu;
  graph::ClampAttrs clamp{};            // kClamped
  bool scales_input = false;            // weights multiply what goes into an expert, not what comes out (Llama 4)
  ExpertTensors tensors{};
  std::optional<MlpConfig> shared{};    // an MLP for every row, beside the experts
  std::string shared_scope = "shared_expert";
  bool gates_shared = false;            // times sigmoid(shared_expert_gate(x)), one number a row
};

// The sum over a row's experts, and the shared one if there is one. Probes: mlp_in, mlp_out, router_logits, expert_ids, expert_weights.
[[nodiscard]] graph::ValueRef MixtureOfExperts(const graph::Builder& b, graph::ValueRef x, const MoeConfig& config);

}  // namespace intaglio::layers
