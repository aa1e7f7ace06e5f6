#include "checkpoint/gguf_vocabulary.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/assert.h"
#include "base/fail.h"
#include "checkpoint/json.h"

namespace intaglio::checkpoint {
namespace {

// The longest published tokens are runs of 128 spaces. Splitting costs the square of the length.
constexpr size_t kMaxTokenBytes = 1024;

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

std::vector<TokenKind> ReadKinds(const GgufFile& file, size_t num_tokens) {
  const auto numbers = file.Ints("tokenizer.ggml.token_type");
  if (!numbers.has_value()) return std::vector<TokenKind>(num_tokens, TokenKind::kNormal);
  Require(numbers->size() == num_tokens, ErrorCode::kDataLoss, file.where(), ": tokenizer.ggml.token_type has ", numbers->size(), " entries for ",
          num_tokens, " tokens");
  std::vector<TokenKind> kinds;
  for (const int64_t number : *numbers) {
    Require(number >= 1 && number <= 6, ErrorCode::kDataLoss, file.where(), ": tokenizer.ggml.token_type has ", number,
            "; the format defines 1 to 6");
    kinds.push_back(static_cast<TokenKind>(number));
  }
  return kinds;
}

std::vector<float> ReadScores(const GgufFile& file, size_t num_tokens) {
  auto scores = file.Floats("tokenizer.ggml.scores");
  if (!scores.has_value()) return {};
  Require(scores->size() == num_tokens, ErrorCode::kDataLoss, file.where(), ": tokenizer.ggml.scores has ", scores->size(), " entries for ",
          num_tokens, " tokens");
  const bool is_finite = std::all_of(scores->begin(), scores->end(), [](float score) { return std::isfinite(score); });
  Require(is_finite, ErrorCode::kDataLoss, file.where(), ": tokenizer.ggml.scores has an infinite score or NaN");
  return std::move(*scores);
}

using Index = std::unordered_map<std::string_view, int32_t>;

Index IndexOf(const Vocabulary& vocabulary) {
  Index ids;
  ids.reserve(vocabulary.tokens.size());
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) ids.insert_or_assign(vocabulary.tokens[id], static_cast<int32_t>(id));
  return ids;
}

}  // namespace

bool IsUtf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = lead < 0x80 ? 1 : lead >= 0xc2 && lead < 0xe0 ? 2 : lead >= 0xe0 && lead < 0xf0 ? 3 : lead >= 0xf0 && lead < 0xf5 ? 4 : 0;
    if (length == 0 || length > text.size() - i) return false;
    for (size_t j = 1; j < length; ++j) {
      if (!IsContinuation(text[i + j])) return false;
    }
    const auto second = length > 1 ? static_cast<unsigned char>(text[i + 1]) : 0;
    if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second >= 0xa0) || (lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second >= 0x90))
      return false;
    i += length;
  }
  return true;
}

std::optional<std::string> Vocabulary::TokenOf(std::optional<int32_t> id) const {
  return id.has_value() ? std::optional(tokens[static_cast<size_t>(*id)]) : std::nullopt;
}

std::optional<int32_t> ReadTokenId(const GgufFile& file, std::string_view key, size_t num_tokens) {
  const auto id = file.Int(key);
  if (!id.has_value()) return std::nullopt;
  Require(*id >= 0 && *id < static_cast<int64_t>(num_tokens), ErrorCode::kDataLoss, file.where(), ": ", key, " is ", *id,
          ", outside the vocabulary of ", num_tokens);
  return static_cast<int32_t>(*id);
}

Vocabulary ReadVocabulary(const GgufFile& file) {
  const auto tokens = file.Strings("tokenizer.ggml.tokens");
  Require(tokens.has_value() && !tokens->empty() && tokens->size() <= std::numeric_limits<int32_t>::max(), ErrorCode::kDataLoss, file.where(),
          ": tokenizer.ggml.tokens is missing or empty");
  Vocabulary vocabulary;
  for (const std::string_view token : *tokens) {
    Require(token.size() <= kMaxTokenBytes, ErrorCode::kDataLoss, file.where(), ": token ", vocabulary.tokens.size(), " is ", token.size(),
            " bytes long; expected at most ", kMaxTokenBytes);
    Require(IsUtf8(token), ErrorCode::kDataLoss, file.where(), ": token ", vocabulary.tokens.size(), " is not valid UTF-8");
    vocabulary.tokens.emplace_back(token);
  }
  const size_t count = vocabulary.tokens.size();
  vocabulary.kinds = ReadKinds(file, count);
  vocabulary.scores = ReadScores(file, count);
  vocabulary.bos = ReadTokenId(file, "tokenizer.ggml.bos_token_id", count);
  vocabulary.eos = ReadTokenId(file, "tokenizer.ggml.eos_token_id", count);
  vocabulary.unknown = ReadTokenId(file, "tokenizer.ggml.unknown_token_id", count);
  vocabulary.padding = ReadTokenId(file, "tokenizer.ggml.padding_token_id", count);
  return vocabulary;
}

std::vector<Merge> DeriveMerges(const Vocabulary& vocabulary, MergeOrder order) {
  Assert(vocabulary.scores.size() == vocabulary.tokens.size());
  const Index ids = IndexOf(vocabulary);
  const auto score = [&](int32_t id) { return vocabulary.scores[static_cast<size_t>(id)]; };
  struct Split {
    int32_t merged, left, right;
    size_t left_bytes;
  };
  std::vector<Split> splits;
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const std::string_view token = vocabulary.tokens[id];
    if (ids.at(token) != static_cast<int32_t>(id)) continue;  // a later token of the same text stands for both
    const auto first = static_cast<std::ptrdiff_t>(splits.size());
    for (size_t cut = 1; cut < token.size(); ++cut) {
      if (IsContinuation(token[cut])) continue;
      const auto left = ids.find(token.substr(0, cut));
      if (left == ids.end()) continue;
      const auto right = ids.find(token.substr(cut));
      if (right != ids.end()) splits.push_back({static_cast<int32_t>(id), left->second, right->second, cut});
    }
    std::stable_sort(splits.begin() + first, splits.end(), [&](const Split& a, const Split& b) {
      return std::pair(score(a.left), score(a.right)) > std::pair(score(b.left), score(b.right));
    });
  }
  if (order == MergeOrder::kByScore) {
    std::stable_sort(splits.begin(), splits.end(), [&](const Split& a, const Split& b) { return score(a.merged) > score(b.merged); });
  }
  std::vector<Merge> merges;
  merges.reserve(splits.size());
  for (const Split& split : splits) {
    const std::string_view token = vocabulary.tokens[static_cast<size_t>(split.merged)];
    merges.emplace_back(token.substr(0, split.left_bytes), token.substr(split.left_bytes));
  }
  return merges;
}

std::vector<Merge> ReadMerges(const GgufFile& file, const Vocabulary& vocabulary) {
  const auto lines = file.Strings("tokenizer.ggml.merges");
  Require(lines.has_value(), ErrorCode::kDataLoss, file.where(), ": tokenizer.ggml.merges is missing");
  const Index ids = IndexOf(vocabulary);
  std::vector<Merge> merges;
  merges.reserve(lines->size());
  std::string merged;
  for (const std::string_view line : *lines) {
    const size_t space = line.find(' ', 1);  // a piece may begin with a space, but holds none in the byte-level alphabet
    Require(space != std::string_view::npos && space + 1 < line.size(), ErrorCode::kDataLoss, file.where(), ": merge ", merges.size(), " is ",
            Quoted(line), "; expected two pieces with a space between");
    const Merge merge(line.substr(0, space), line.substr(space + 1));
    merged.assign(merge.first).append(merge.second);
    Require(ids.contains(merge.first) && ids.contains(merge.second) && ids.contains(merged), ErrorCode::kDataLoss, file.where(), ": merge ",
            merges.size(), ' ', Quoted(line), " has a part or a result that is no token");
    merges.push_back(merge);
  }
  return merges;
}

}  // namespace intaglio::checkpoint
