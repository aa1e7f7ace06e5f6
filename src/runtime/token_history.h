// The tokens of every slot, for penalties and for callers that ask. Allocated once; the length of a slot is the KvCacheManager's.
#pragma once
#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace intaglio::runtime {

class TokenHistory {
 public:
  TokenHistory(int32_t max_slots, int64_t max_context)
      : max_context_(static_cast<size_t>(max_context)),
        tokens_(static_cast<size_t>(max_slots) * max_context_),
        prompts_(static_cast<size_t>(max_slots)) {}

  void Reset(int32_t slot) noexcept { prompts_[static_cast<size_t>(slot)] = {}; }
  void Write(int32_t slot, int32_t position, std::span<const int32_t> tokens) noexcept {
    std::copy(tokens.begin(), tokens.end(),
              tokens_.begin() + static_cast<ptrdiff_t>(static_cast<size_t>(slot) * max_context_ + static_cast<size_t>(position)));
  }
  [[nodiscard]] const int32_t* data(int32_t slot) const noexcept { return tokens_.data() + static_cast<size_t>(slot) * max_context_; }

  // How many leading tokens are prompt: what was set, else all that came before EndPrompt.
  [[nodiscard]] int32_t prompt_length(int32_t slot, int32_t length) const noexcept {
    const int32_t prompt = prompts_[static_cast<size_t>(slot)].length;
    return prompt < 0 ? length : std::min(prompt, length);
  }
  void SetPrompt(int32_t slot, int32_t length) noexcept { prompts_[static_cast<size_t>(slot)].length = length; }
  // The first `length` tokens are the prompt, unless that was settled before.
  void EndPrompt(int32_t slot, int32_t length) noexcept {
    int32_t& prompt = prompts_[static_cast<size_t>(slot)].length;
    if (prompt < 0) prompt = length;
  }

 private:
  struct Prompt {
    int32_t length = -1;  // not settled yet
  };
  size_t max_context_;
  std::vector<int32_t> tokens_;  // [max_slots][max_context]
  std::vector<Prompt> prompts_;
};

}  // namespace intaglio::runtime
