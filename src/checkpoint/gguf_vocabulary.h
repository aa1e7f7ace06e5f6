// The tokens of a GGUF file with all that its metadata says about them, checked; and the merges of a byte-pair encoding over them.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "checkpoint/gguf.h"

namespace intaglio::checkpoint {

// No overlong forms, no surrogates, nothing above U+10FFFF.
[[nodiscard]] bool IsUtf8(std::string_view text);

// Numbered as in the file.
enum class TokenKind : uint8_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

struct Vocabulary {
  std::vector<std::string> tokens;  // by id; valid UTF-8
  std::vector<TokenKind> kinds;
  std::vector<float> scores;        // finite; empty if the file has none
  std::optional<int32_t> bos = {}, eos = {}, unknown = {}, padding = {};

  [[nodiscard]] std::optional<std::string> TokenOf(std::optional<int32_t> id) const;
};

// Throws Error kDataLoss for lists of unequal length, ids outside the vocabulary, invalid UTF-8.
[[nodiscard]] Vocabulary ReadVocabulary(const GgufFile& file);
// The token id stored under `key`; nullopt if absent. Throws as ReadVocabulary.
[[nodiscard]] std::optional<int32_t> ReadTokenId(const GgufFile& file, std::string_view key, size_t num_tokens);

// Which merge comes first.
enum class MergeOrder {
  kByScore,  // SentencePiece: the better the score of the merged token, the earlier; equals in the order of ids
  kById,     // Gemma, whose scores do not rank the runs of white space
};
// A pair of pieces to merge, in order of preference: views of tokens.
using Merge = std::pair<std::string_view, std::string_view>;

// Every split of every token into two tokens (as Transformers' GGUF converter does).
// REQUIRES: vocabulary.scores is not empty.
[[nodiscard]] std::vector<Merge> DeriveMerges(const Vocabulary& vocabulary, MergeOrder order);
// tokenizer.ggml.merges, "left right" each. Throws Error kDataLoss if absent, malformed, or of unknown tokens.
[[nodiscard]] std::vector<Merge> ReadMerges(const GgufFile& file, const Vocabulary& vocabulary);

}  // namespace intaglio::checkpoint
