// The C functions of rust/src/ffi.rs, and what it takes to call them from C++: slices in, buffers out, errors as Error.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/fail.h"

namespace intaglio::text::rust {

struct Slice {
  const char* data;
  size_t size;
  // Implicit, so that calls read like any other.
  Slice(std::string_view text) : data(text.data()), size(text.size()) {}      // NOLINT(google-explicit-constructor)
  Slice(const std::string& text) : data(text.data()), size(text.size()) {}    // NOLINT(google-explicit-constructor)
};

struct RawBuffer {
  char* data;
  size_t size, capacity;
};

struct Tokenizer;
struct Detokenizer;

struct ChatRequest {
  Slice chat_template, variables, messages, tools, kwargs, now;
  bool add_generation_prompt;
};

// Those that return int32_t give 0 and the result in `out`, or the number of a fault and its message.
extern "C" {
void intaglio_buffer_free(RawBuffer buffer);
int32_t intaglio_tokenizer_new(Slice tokenizer_json, Slice config, Slice special_tokens_map, Tokenizer** tokenizer, RawBuffer* out);
void intaglio_tokenizer_free(Tokenizer* tokenizer);
size_t intaglio_tokenizer_vocab_size(const Tokenizer* tokenizer);
int32_t intaglio_tokenizer_encode(const Tokenizer* tokenizer, Slice text, bool add_special_tokens, RawBuffer* out);
int32_t intaglio_tokenizer_decode(const Tokenizer* tokenizer, const int32_t* ids, size_t num_ids, bool skip_special_tokens, RawBuffer* out);
Detokenizer* intaglio_detokenizer_new(const Tokenizer* tokenizer, bool skip_special_tokens);
void intaglio_detokenizer_free(Detokenizer* detokenizer);
int32_t intaglio_detokenizer_push(Detokenizer* detokenizer, const Tokenizer* tokenizer, int32_t id, RawBuffer* out);
int32_t intaglio_detokenizer_finish(Detokenizer* detokenizer, const Tokenizer* tokenizer, RawBuffer* out);
int32_t intaglio_special_tokens(Slice config, Slice special_tokens_map, RawBuffer* out);
int32_t intaglio_chat_render(const ChatRequest* request, RawBuffer* out);
}

// Owns the bytes that a call returned.
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() {
    if (raw_.data != nullptr) intaglio_buffer_free(raw_);
  }
  [[nodiscard]] RawBuffer* out() { return &raw_; }
  [[nodiscard]] std::string_view view() const { return {raw_.data, raw_.size}; }

 private:
  RawBuffer raw_{};
};

// Throws the error that `fault` and `result` describe, if any. `where` opens the message: a path, or nothing.
inline void Check(int32_t fault, const Buffer& result, std::string_view where = {}) {
  constexpr int32_t kFileFault = 2;
  if (fault == 0) return;
  Fail(fault == kFileFault ? ErrorCode::kDataLoss : ErrorCode::kInvalidArgument, where, where.empty() ? "" : ": ", result.view());
}

}  // namespace intaglio::text::rust
