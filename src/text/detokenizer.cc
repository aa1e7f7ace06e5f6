#include "text/detokenizer.h"

#include "text/tokenizer_impl.h"

namespace intaglio::text {

struct Detokenizer::Impl {
  Impl(const rust::Tokenizer* tokenizer_handle, bool skip_special_tokens)
      : tokenizer(tokenizer_handle), handle(rust::intaglio_detokenizer_new(tokenizer_handle, skip_special_tokens)) {}
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() { rust::intaglio_detokenizer_free(handle); }
  const rust::Tokenizer* const tokenizer;
  rust::Detokenizer* const handle;
};

Detokenizer::Detokenizer(const Tokenizer& tokenizer, bool skip_special_tokens)
    : impl_(std::make_unique<Impl>(tokenizer.impl_->handle, skip_special_tokens)) {}
Detokenizer::Detokenizer(Detokenizer&&) noexcept = default;
Detokenizer::~Detokenizer() = default;

std::string Detokenizer::Push(int32_t id) {
  rust::Buffer result;
  rust::Check(rust::intaglio_detokenizer_push(impl_->handle, impl_->tokenizer, id, result.out()), result);
  return std::string(result.view());
}

std::string Detokenizer::Finish() {
  rust::Buffer result;
  rust::Check(rust::intaglio_detokenizer_finish(impl_->handle, impl_->tokenizer, result.out()), result);
  return std::string(result.view());
}

}  // namespace intaglio::text
