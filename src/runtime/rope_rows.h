// Which rows of the rotary tables a sequence takes, where a model rotates long sequences by other frequencies than short ones (longrope).
// All tokens of a sequence are rotated alike: those of a prompt by the prompt's length, a later token by its own place, and where that
// outgrows the switch, the tokens before it are to be computed again. Keeps, per slot, how its keys were made. One thread at a time.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "intaglio/engine.h"

namespace intaglio::runtime {

class RopeRows {
 public:
  // `rope_switch`: of the manifest; 0: every sequence is rotated alike.
  RopeRows(int32_t max_slots, int64_t rope_switch) : switch_(static_cast<int32_t>(rope_switch)), is_long_(static_cast<size_t>(max_slots)) {}

  // How many of a sequence's tokens, the first of which has position `length`, are rotated as a short sequence's. Those after are not.
  [[nodiscard]] int32_t num_short(const StepSequence& sequence, int32_t length) const noexcept {
    const auto count = static_cast<int32_t>(sequence.tokens.size());
    if (switch_ == 0) return count;
    return sequence.prompt_length > switch_ ? 0 : std::clamp(switch_ - length, 0, count);
  }
  [[nodiscard]] bool can_switch() const noexcept { return switch_ != 0; }
  // How the keys of a slot are rotated; means nothing for an empty slot.
  [[nodiscard]] bool is_long(int32_t slot) const noexcept { return is_long_[static_cast<size_t>(slot)] != 0; }
  void Set(int32_t slot, bool is_long) noexcept { is_long_[static_cast<size_t>(slot)] = is_long ? 1 : 0; }
  // The table row of the slot's position 0.
  [[nodiscard]] int32_t first_row(int32_t slot) const noexcept { return is_long(slot) ? switch_ : 0; }

 private:
  int32_t switch_;
  std::vector<uint8_t> is_long_;   // by slot
};

}  // namespace intaglio::runtime
