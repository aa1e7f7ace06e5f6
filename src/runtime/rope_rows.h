// How each token is rotated, in models that rotate long sequences by other frequencies than short ones.
// By a switch (longrope): all tokens of a sequence are rotated alike, those of a prompt by the prompt's length, a later token by its own
// place, and where that outgrows the switch, the tokens before it are to be computed again. Keeps, per slot, how its keys were made.
// By length (dynamic): a prompt's tokens by the prompt's length, a later token by its own place; keys stay as they were made.
// One thread at a time.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "bundle/manifest.h"
#include "intaglio/engine.h"

namespace intaglio::runtime {

class RopeRows {
 public:
  explicit RopeRows(const bundle::Manifest& manifest)
      : switch_(static_cast<int32_t>(manifest.rope_switch)),
        follows_length_(manifest.rope_follows_length),
        is_long_(static_cast<size_t>(manifest.max_slots)) {}

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
  // StepView::rope_rows of the sequence's token at `position`: a row of the rotary tables, or a length.
  [[nodiscard]] int32_t row(const StepSequence& sequence, int32_t position) const noexcept {
    if (follows_length_) return std::max(sequence.prompt_length, position + 1);
    return (is_long(sequence.slot) ? switch_ : 0) + position;
  }

 private:
  int32_t switch_;
  bool follows_length_;
  std::vector<uint8_t> is_long_;   // by slot
};

}  // namespace intaglio::runtime
