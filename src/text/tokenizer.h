// Strings to ids and back, exactly as Hugging Face `tokenizers` does it: a thin owner around the Rust crate in rust/.
// Thread-safe for const methods.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace intaglio::text {

class Tokenizer {
 public:
  // From a folder with tokenizer.json (tokenizer_config.json and special_tokens_map.json are read if present: they may name special
  // tokens). Throws Error kNotFound, kDataLoss.
  [[nodiscard]] static Tokenizer Load(const std::filesystem::path& folder);
  [[nodiscard]] static Tokenizer FromJson(std::string_view tokenizer_json);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // Special tokens written in the text are parsed as special, as Transformers does. Throws Error kInvalidArgument for invalid UTF-8.
  [[nodiscard]] std::vector<int32_t> Encode(std::string_view text, bool add_special_tokens) const;
  // Ids beyond the vocabulary stand for no text, as in Transformers. Throws Error kInvalidArgument for a negative one.
  [[nodiscard]] std::string Decode(std::span<const int32_t> ids, bool skip_special_tokens) const;
  [[nodiscard]] int64_t vocab_size() const;  // added tokens included

 private:
  friend class Detokenizer;
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace intaglio::text
