// What an engine computes for one prompt and the golden tokens after it.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "intaglio/engine.h"
#include "parity/golden.h"

namespace intaglio::parity {

struct Observed {
  std::vector<float> prompt_logits;    // [prompt tokens, vocabulary]
  std::vector<float> forced_logits;    // [greedy tokens, vocabulary]: row i is what the golden tokens before number i lead to
  std::map<std::string, std::vector<float>> probes;   // of the prompt, all rows; those of `probe_names` that the bundle has
};

// Teacher-forced: the prompt, then the golden's greedy tokens whatever the engine would have chosen, in chunks of context encoding. Greedy
// tokens beyond the bundle's context are left out. Throws Error kInvalidArgument for a prompt that the bundle cannot hold.
[[nodiscard]] Observed Observe(Engine& engine, const GoldenPrompt& prompt, const std::vector<std::string>& probe_names);

}  // namespace intaglio::parity
