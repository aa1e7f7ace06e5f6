#include "runtime/batch.h"

#include <tuple>

#include "base/assert.h"

namespace intaglio::runtime {

std::optional<size_t> SmallestPlan(std::span<const bundle::Plan> plans, Phase phase, int32_t rows, int32_t outputs) {
  std::optional<size_t> best;
  for (size_t i = 0; i < plans.size(); ++i) {
    const bundle::Plan& plan = plans[i];
    if (plan.phase != phase || plan.rows < rows || plan.outputs < outputs) continue;
    if (!best || std::tie(plan.rows, plan.outputs) < std::tie(plans[*best].rows, plans[*best].outputs)) best = i;
  }
  return best;
}

Batch::Batch(int32_t max_rows, int32_t max_outputs)
    : tokens_(static_cast<size_t>(max_rows)),
      positions_(tokens_.size()),
      slots_(tokens_.size()),
      lengths_(tokens_.size()),
      rope_rows_(tokens_.size()),
      output_rows_(static_cast<size_t>(max_outputs)),
      sampling_(output_rows_.size()) {}

void Batch::Clear() noexcept { num_rows_ = num_outputs_ = 0; }

void Batch::Add(const StepSequence& sequence, int32_t position, const TokenHistory& history, const RopeRows& rope_rows) noexcept {
  static constexpr SamplingParams kGreedy;
  const SamplingParams& sampling = sequence.sampling == nullptr ? kGreedy : *sequence.sampling;
  const auto count = static_cast<int32_t>(sequence.tokens.size());
  Assert(num_rows_ + count <= std::ssize(tokens_) && num_outputs_ + sequence.outputs <= std::ssize(output_rows_));
  for (int32_t i = 0; i < count; ++i, ++num_rows_) {
    const auto row = static_cast<size_t>(num_rows_);
    tokens_[row] = sequence.tokens[static_cast<size_t>(i)];
    positions_[row] = position + i;
    slots_[row] = sequence.slot;
    lengths_[row] = position + count;
    rope_rows_[row] = rope_rows.row(sequence, position + i);
    if (i < count - sequence.outputs) continue;
    const int32_t history_size = position + i + 1;
    const auto output = static_cast<size_t>(num_outputs_++);
    output_rows_[output] = num_rows_;
    sampling_[output] = {.temperature = sampling.temperature,
                         .top_p = sampling.top_p,
                         .min_p = sampling.min_p,
                         .repetition_penalty = sampling.repetition_penalty,
                         .presence_penalty = sampling.presence_penalty,
                         .frequency_penalty = sampling.frequency_penalty,
                         .top_k = sampling.top_k,
                         .num_logprobs = sampling.num_logprobs,
                         .seed = sampling.seed,
                         .history = history.data(sequence.slot),
                         .history_size = history_size,
                         .prompt_size = history.prompt_length(sequence.slot, history_size),
                         .position = history_size};
  }
}

kernels::StepView Batch::view() const noexcept {
  return {.num_rows = num_rows_,
          .num_outputs = num_outputs_,
          .tokens = tokens_.data(),
          .positions = positions_.data(),
          .slots = slots_.data(),
          .lengths = lengths_.data(),
          .rope_rows = rope_rows_.data(),
          .output_rows = output_rows_.data(),
          .sampling = sampling_.data(),
          .block_tables = nullptr,
          .max_blocks = nullptr};
}

}  // namespace intaglio::runtime
