// One step as the kernels see it: the rows of all its sequences, padded to nothing (rows beyond num_rows do not exist), in arrays that
// are allocated once. Also chooses the bucket.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "bundle/plan.h"
#include "intaglio/engine.h"
#include "kernels/kernel.h"
#include "runtime/rope_rows.h"
#include "runtime/token_history.h"

namespace intaglio::runtime {

// The plan of `phase` with the fewest rows, then outputs, that holds a step; nullopt if none does.
[[nodiscard]] std::optional<size_t> SmallestPlan(std::span<const bundle::Plan> plans, Phase phase, int32_t rows, int32_t outputs);

class Batch {
 public:
  Batch(int32_t max_rows, int32_t max_outputs);

  void Clear() noexcept;
  // Rows of `sequence`, whose first token has `position`. Its tokens must be in `history` already. REQUIRES: it fits
  void Add(const StepSequence& sequence, int32_t position, const TokenHistory& history, const RopeRows& rope_rows) noexcept;
  // Without block tables. Valid until the next Clear.
  [[nodiscard]] kernels::StepView view() const noexcept;

  // Of output number i: its row's slot and position.
  [[nodiscard]] int32_t output_slot(int32_t i) const noexcept { return slots_[OutputRow(i)]; }
  [[nodiscard]] int32_t output_position(int32_t i) const noexcept { return positions_[OutputRow(i)]; }
  [[nodiscard]] int32_t num_logprobs(int32_t i) const noexcept { return sampling_[static_cast<size_t>(i)].num_logprobs; }

 private:
  [[nodiscard]] size_t OutputRow(int32_t i) const noexcept { return static_cast<size_t>(output_rows_[static_cast<size_t>(i)]); }

  int32_t num_rows_ = 0, num_outputs_ = 0;
  std::vector<int32_t> tokens_, positions_, slots_, lengths_, rope_rows_;  // [max_rows]
  std::vector<int32_t> output_rows_;                 // [max_outputs]
  std::vector<kernels::SamplingRow> sampling_;       // [max_outputs]
};

}  // namespace intaglio::runtime
