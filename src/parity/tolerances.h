// What a float32 engine may differ from Transformers by, as tests/fixtures/README.md derives it from float32 against float64.
#pragma once
#include <string_view>

namespace intaglio::parity {

struct Tolerances {
  double logits = 5e-4;          // also of log-probabilities
  double probes = 2e-5;          // times the tensor's largest entry
  double bf16_expert_mean = 0.35;   // of logits of bfloat16 compute, for models with experts
};

// Transformers computes prompts of Qwen3-Next in chunks, by a triangular system that rounds far more than the recurrence itself.
[[nodiscard]] constexpr Tolerances TolerancesOf(std::string_view architecture) {
  if (architecture == "Qwen3NextForCausalLM") return {.logits = 1e-2, .probes = 1e-3, .bf16_expert_mean = 0.6};
  return {};
}

}  // namespace intaglio::parity
