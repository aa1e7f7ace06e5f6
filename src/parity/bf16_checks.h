// What bfloat16 weights may cost against float32 goldens, as tests/fixtures/README.md measured it: a mean logit error over all prompts,
// and the same top token wherever the golden's margin is clear. Mixtures of experts choose other experts at near-ties, which moves single
// logits far: they get a wider mean and no word on top tokens.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "intaglio/parity.h"

namespace intaglio::parity {

class Bf16Checks {
 public:
  // `expert_mean`: the mean error allowed where there are experts.
  Bf16Checks(bool has_experts, double expert_mean) : has_experts_(has_experts), expert_mean_(expert_mean) {}
  // Logits [rows, vocab] of one prompt and their goldens.   REQUIRES: equal sizes
  void AddPrompt(const std::string& name, std::span<const float> logits, std::span<const float> golden, int64_t vocab);
  [[nodiscard]] std::vector<ParityCheck> Finish() const;

 private:
  const bool has_experts_;
  const double expert_mean_;
  double error_sum_ = 0, worst_ = 0;
  int64_t num_logits_ = 0, flips_ = 0;
  std::string worst_where_, flip_where_;
};

}  // namespace intaglio::parity
