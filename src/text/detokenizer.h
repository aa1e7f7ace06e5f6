// Ids to text one at a time. Never emits part of a UTF-8 character: bytes wait until the character is whole.
// The concatenation of all Push() results and Finish() is Tokenizer::Decode() of all ids. An id costs the same at any length.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "text/tokenizer.h"

namespace intaglio::text {

class Detokenizer {
 public:
  // `tokenizer` must outlive it (it may be moved).
  Detokenizer(const Tokenizer& tokenizer, bool skip_special_tokens);
  Detokenizer(Detokenizer&&) noexcept;
  ~Detokenizer();
  // Text that became final with this id; often empty, as for an id beyond the vocabulary. Throws Error kInvalidArgument for a negative one.
  [[nodiscard]] std::string Push(int32_t id);
  // Whatever still waits (an incomplete character becomes U+FFFD, as Decode gives it). The next Push() starts a new text.
  [[nodiscard]] std::string Finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace intaglio::text
