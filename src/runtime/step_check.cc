#include "runtime/step_check.h"

#include <cmath>

#include "base/fail.h"
#include "kernels/params.h"

namespace intaglio::runtime {
namespace {

// NaN fails every comparison, so each condition is written to hold, not to fail.
void CheckSampling(const SamplingParams& s) {
  constexpr ErrorCode kCode = ErrorCode::kInvalidArgument;
  Require(s.temperature >= 0 && std::isfinite(s.temperature), kCode, "temperature is ", s.temperature, "; it must be 0 (greedy) or above");
  Require(s.top_k >= 0, kCode, "top_k is ", s.top_k, "; it must be 0 (off) or above");
  Require(s.top_p > 0 && s.top_p <= 1, kCode, "top_p is ", s.top_p, "; it must be above 0 and at most 1 (off)");
  Require(s.min_p >= 0 && s.min_p <= 1, kCode, "min_p is ", s.min_p, "; it must be from 0 (off) to 1");
  Require(s.repetition_penalty > 0 && std::isfinite(s.repetition_penalty), kCode, "repetition_penalty is ", s.repetition_penalty,
          "; it must be above 0 (1 is off)");
  Require(std::isfinite(s.presence_penalty) && std::isfinite(s.frequency_penalty), kCode,
          "presence_penalty and frequency_penalty must be finite (0 is off)");
  Require(s.num_logprobs >= 0 && s.num_logprobs <= kernels::sample_params::kMaxLogprobs, kCode, s.num_logprobs,
          " log-probabilities were asked for; at most ", kernels::sample_params::kMaxLogprobs, " can be had");
}

}  // namespace

void CheckSequence(const StepSequence& sequence, int32_t length, Phase phase, const ModelInfo& info) {
  constexpr ErrorCode kCode = ErrorCode::kInvalidArgument;
  const int64_t count = std::ssize(sequence.tokens), max_count = phase == Phase::kTokenGeneration ? 1
                                                                 : phase == Phase::kSpeculation   ? info.speculation + 1
                                                                                                  : count;
  Require(count > 0, kCode, "slot ", sequence.slot, " has no tokens in this step");
  Require(count <= max_count, kCode, "slot ", sequence.slot, " has ", count, " tokens in a step of ", Name(phase), ", which takes ", max_count,
          " of a sequence");
  Require(sequence.outputs >= 0 && sequence.outputs <= count, kCode, "slot ", sequence.slot, " wants ", sequence.outputs, " outputs of ", count,
          " tokens");
  Require(count <= info.max_context - length, kCode, "slot ", sequence.slot, " has ", length, " tokens and cannot take ", count,
          " more: the bundle's context is ", info.max_context, "; export with a larger --max-context");
  Require(info.embedding_dim == 0 || sequence.outputs <= 1, kCode, "slot ", sequence.slot, " wants ", sequence.outputs,
          " outputs; a sequence has one embedding");
  Require(!info.needs_whole_sequences || length == 0, kCode, "slot ", sequence.slot, " has ", length, " tokens and cannot take ", count,
          " more: this model needs all tokens of a sequence in one step; truncate the slot to 0 and give it the whole text");
  const bool is_prompt_length =
      sequence.prompt_length == 0 || (sequence.prompt_length >= length + count && sequence.prompt_length <= info.max_context);
  Require(is_prompt_length, kCode, "slot ", sequence.slot, " has a prompt_length of ", sequence.prompt_length, " but ", length + count,
          " tokens after this step, in a context of ", info.max_context);
  for (int64_t i = 0; i < count; ++i) {
    const int32_t id = sequence.tokens[static_cast<size_t>(i)];
    Require(id >= 0 && id < info.vocab_size, kCode, "token ", id, " at position ", length + i, " is outside the vocabulary of ", info.vocab_size);
  }
  if (sequence.sampling != nullptr) CheckSampling(*sequence.sampling);
}

}  // namespace intaglio::runtime
