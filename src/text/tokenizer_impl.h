// What a Tokenizer owns; for tokenizer.cc and detokenizer.cc only.
#pragma once
#include "text/rust_abi.h"
#include "text/tokenizer.h"

namespace intaglio::text {

struct Tokenizer::Impl {
  explicit Impl(rust::Tokenizer* owned) : handle(owned) {}
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() { rust::intaglio_tokenizer_free(handle); }
  rust::Tokenizer* const handle;
};

}  // namespace intaglio::text
