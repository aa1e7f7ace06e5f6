// Ids to text one at a time. Never emits part of a UTF-8 character: bytes wait until the character is whole.
// The concatenation of all Push() results and Finish() is Tokenizer::Decode() of all ids.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace intaglio::text {

class Detokenizer {
 public:
  // `tokenizer` must outlive it.
  Detokenizer(const Tokenizer& tokenizer, bool skip_special_tokens);
  // Text that became final with this id; often empty.
  [[nodiscard]] std::string Push(int32_t id);
  // Whatever still waits (an incomplete character becomes U+FFFD, as Decode gives it).
  [[nodiscard]] std::string Finish();

 private:
  const Tokenizer& tokenizer_;
  bool skip_special_tokens_;
  std::vector<int32_t> ids_;
  size_t prefix_ = 0, read_ = 0;
};

}  // namespace intaglio::text
