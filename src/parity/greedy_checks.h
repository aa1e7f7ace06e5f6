// Greedy generation and teacher-forced steps of one prompt against the golden's.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "intaglio/engine.h"
#include "intaglio/parity.h"
#include "parity/golden.h"

namespace intaglio::parity {

struct GreedyRun {
  GenerateResult result;
  size_t num_wanted = 0;   // golden tokens that fit the bundle's context
  size_t num_equal = 0;    // leading ones that came out
  [[nodiscard]] bool is_equal() const { return num_equal == num_wanted && result.ids.size() == num_wanted; }
};
[[nodiscard]] GreedyRun RunGreedy(Engine& engine, const GoldenPrompt& golden);

// "<name>.greedy_ids", and "<name>.top_logprobs" where the ids are the golden's.
[[nodiscard]] std::vector<ParityCheck> CheckGreedy(const std::string& name, const GoldenPrompt& golden, const GreedyRun& run,
                                                   double logprob_tolerance);
// "<name>.teacher_forced": by how much the golden's token wins at each greedy step (negative: it loses), from logits [steps, vocab] that the
// golden's tokens lead to. `tolerance`: of one logit.
[[nodiscard]] ParityCheck CheckForced(const std::string& name, const GoldenPrompt& golden, std::span<const float> logits, int64_t vocab,
                                      double tolerance);

}  // namespace intaglio::parity
