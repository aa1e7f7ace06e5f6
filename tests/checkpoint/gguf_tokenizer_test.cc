// What tokenizer files are made of GGUF metadata. That they give the right ids is checked in tests/gguf.
#include "checkpoint/gguf_tokenizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "checkpoint/gguf_vocabulary.h"
#include "tests/base/temporary_folder.h"
#include "tests/checkpoint/gguf_bytes.h"

namespace intaglio::checkpoint {
namespace {

using nlohmann::json;

std::vector<std::string> With(std::vector<std::string> entries, const std::vector<std::string>& more) {
  entries.insert(entries.end(), more.begin(), more.end());
  return entries;
}

// <unk> <s> </s> a b ab, scores falling with the id.
std::vector<std::string> SentencePiece(const char* architecture = "llama") {
  return {String("general.architecture", architecture),
          String("tokenizer.ggml.model", "llama"),
          Strings("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", "a", "b", "ab"}),
          Floats("tokenizer.ggml.scores", {0, 0, 0, -1, -2, -3}),
          Ints("tokenizer.ggml.token_type", {2, 3, 3, 1, 1, 1}),
          U32("tokenizer.ggml.bos_token_id", 1),
          U32("tokenizer.ggml.eos_token_id", 2),
          U32("tokenizer.ggml.unknown_token_id", 0)};
}

std::vector<std::string> ByteLevel() {
  return {String("general.architecture", "qwen2"),
          String("tokenizer.ggml.model", "gpt2"),
          Strings("tokenizer.ggml.tokens", {"a", "b", "ab", "<|end|>", "[PAD]"}),
          Ints("tokenizer.ggml.token_type", {1, 1, 1, 3, 5}),
          Strings("tokenizer.ggml.merges", {"a b"}),
          U32("tokenizer.ggml.eos_token_id", 3)};
}

json File(const std::vector<std::string>& metadata, const char* name) {
  const std::string bytes = GgufBytes(metadata);
  return json::parse(GgufTokenizerFiles(ParseGguf(bytes)).at(name));
}
json Tokenizer(const std::vector<std::string>& metadata) { return File(metadata, "tokenizer.json"); }

TEST(GgufTokenizer, OfSentencePieceHasByteFallbackAndDerivedMerges) {
  const json tokenizer = Tokenizer(SentencePiece());
  EXPECT_EQ(tokenizer["model"]["merges"], json::parse(R"([["a","b"]])"));
  EXPECT_EQ(tokenizer["model"]["vocab"]["ab"], 5);
  EXPECT_EQ(tokenizer["model"]["byte_fallback"], true);
  EXPECT_EQ(tokenizer["model"]["unk_token"], "<unk>");
  EXPECT_EQ(tokenizer["pre_tokenizer"]["prepend_scheme"], "first");
  EXPECT_EQ(tokenizer["decoder"]["decoders"].back()["type"], "Strip");
  EXPECT_EQ(tokenizer["post_processor"]["single"][0]["SpecialToken"]["id"], "<s>");
}

TEST(GgufTokenizer, OfGemmaMarksSpacesBeforeAnythingElse) {
  const json tokenizer = Tokenizer(SentencePiece("gemma3"));
  EXPECT_EQ(tokenizer["normalizer"]["content"], "\u2581");
  EXPECT_EQ(tokenizer["decoder"]["decoders"].back()["type"], "Fuse");
}

TEST(GgufTokenizer, OfGemmaSpellsRunsOfSpacesAsMarks) {
  const json tokenizer = Tokenizer({String("general.architecture", "gemma3"), String("tokenizer.ggml.model", "llama"),
                                    Strings("tokenizer.ggml.tokens", {"\u2581", "  ", "a b"}), Floats("tokenizer.ggml.scores", {0, -1, -2}),
                                    Ints("tokenizer.ggml.token_type", {1, 4, 1})});
  EXPECT_EQ(tokenizer["model"]["vocab"]["\u2581\u2581"], 1);
  EXPECT_EQ(tokenizer["model"]["vocab"]["a b"], 2);
  EXPECT_EQ(tokenizer["model"]["merges"], json::parse(R"([["▁","▁"]])"));
}

TEST(GgufTokenizer, AddsControlTokensAsSpecialAndUserDefinedAsPlain) {
  const json added =
      Tokenizer(With({String("general.architecture", "llama"), String("tokenizer.ggml.model", "llama"),
                      Strings("tokenizer.ggml.tokens", {"<unk>", "<s>", "<b>", "x"})},
                     {Floats("tokenizer.ggml.scores", {0, 0, 0, 0}), Ints("tokenizer.ggml.token_type", {2, 3, 4, 1})}))["added_tokens"];
  ASSERT_EQ(added.size(), 3u);
  EXPECT_EQ(added[0]["special"], true);
  EXPECT_EQ(added[1]["special"], true);
  EXPECT_EQ(added[2]["special"], false);
  EXPECT_EQ(added[2]["id"], 2);
  EXPECT_EQ(added[2]["normalized"], false);
}

TEST(GgufTokenizer, OfBytesUsesTheStatedMergesAndLeavesOutUnusedTokens) {
  const json tokenizer = Tokenizer(With(ByteLevel(), {String("tokenizer.ggml.pre", "qwen2")}));
  EXPECT_EQ(tokenizer["model"]["merges"], json::parse(R"([["a","b"]])"));
  EXPECT_EQ(tokenizer["model"]["byte_fallback"], false);
  EXPECT_FALSE(tokenizer["model"]["vocab"].contains("[PAD]"));
  EXPECT_EQ(tokenizer["normalizer"]["type"], "NFC");
  EXPECT_EQ(tokenizer["post_processor"]["processors"].size(), 1u);
}

TEST(GgufTokenizer, NamesAnUnknownPreTokenizer) {
  const std::string bytes = GgufBytes(With(ByteLevel(), {String("tokenizer.ggml.pre", "novel")}));
  const std::string message = MessageOf(ErrorCode::kUnsupported, [&] { (void)GgufTokenizerFiles(ParseGguf(bytes)); });
  EXPECT_NE(message.find("'novel', a pre-tokenizer not known here; known are default, gpt-2"), std::string::npos) << message;
}

TEST(GgufTokenizer, NamesAnUnknownModel) {
  const std::string bytes =
      GgufBytes({String("general.architecture", "llama"), String("tokenizer.ggml.model", "bert"), Strings("tokenizer.ggml.tokens", {"a"})});
  const std::string message = MessageOf(ErrorCode::kUnsupported, [&] { (void)GgufTokenizerFiles(ParseGguf(bytes)); });
  EXPECT_NE(message.find("'bert'; supported are llama"), std::string::npos) << message;
}

TEST(GgufTokenizer, IsNoneWhereTheFileHasNone) {
  const std::string bytes = GgufBytes({String("general.architecture", "llama")});
  EXPECT_TRUE(GgufTokenizerFiles(ParseGguf(bytes)).empty());
}

TEST(GgufTokenizer, KeepsSpecialTokensAndTheChatTemplate) {
  const json config = File(With(SentencePiece(), {String("tokenizer.chat_template", "{{ messages }}")}), "tokenizer_config.json");
  EXPECT_EQ(config["bos_token"], "<s>");
  EXPECT_EQ(config["eos_token"], "</s>");
  EXPECT_EQ(config["unk_token"], "<unk>");
  EXPECT_TRUE(config["pad_token"].is_null());
  EXPECT_EQ(config["chat_template"], "{{ messages }}");
}

TEST(GgufTokenizer, EndsRepliesAtEveryTokenThatTheFileNamesOrItsTemplateWrites) {
  const std::vector<std::string> metadata{String("general.architecture", "llama"),
                                          String("tokenizer.ggml.model", "llama"),
                                          Strings("tokenizer.ggml.tokens", {"</s>", "<eot>", "<|im_end|>", "<end_of_turn>"}),
                                          Floats("tokenizer.ggml.scores", {0, 0, 0, 0}),
                                          U32("tokenizer.ggml.eos_token_id", 0),
                                          U32("tokenizer.ggml.eot_token_id", 1),
                                          String("tokenizer.chat_template", "{{ m }}<|im_end|>")};
  EXPECT_EQ(File(metadata, "generation_config.json")["eos_token_id"], json::parse("[0,1,2]"));
}

TEST(GgufTokenizer, EscapesTokens) {
  const json tokenizer = Tokenizer({String("general.architecture", "llama"), String("tokenizer.ggml.model", "llama"),
                                    Strings("tokenizer.ggml.tokens", {"\"", "\\", "\n", "\"\\"}), Floats("tokenizer.ggml.scores", {0, 0, 0, 0})});
  EXPECT_EQ(tokenizer["model"]["vocab"], json::parse(R"({"\"":0,"\\":1,"\n":2,"\"\\":3})"));
}

TEST(DeriveMerges, PrefersTheBetterScoreAndThenTheBetterParts) {
  const Vocabulary vocabulary{.tokens = {"a", "b", "c", "ab", "bc", "abc"}, .kinds = {}, .scores = {-1, -2, -3, -5, -4, -6}};
  using Merges = std::vector<Merge>;
  EXPECT_EQ(DeriveMerges(vocabulary, MergeOrder::kByScore), (Merges{{"b", "c"}, {"a", "b"}, {"a", "bc"}, {"ab", "c"}}));
  EXPECT_EQ(DeriveMerges(vocabulary, MergeOrder::kById), (Merges{{"a", "b"}, {"b", "c"}, {"a", "bc"}, {"ab", "c"}}));
}

TEST(DeriveMerges, NeverSplitsACharacter) {
  const Vocabulary vocabulary{.tokens = {"é", "ü", "éü"}, .kinds = {}, .scores = {0, 0, 0}};
  EXPECT_EQ(DeriveMerges(vocabulary, MergeOrder::kByScore), (std::vector<Merge>{{"é", "ü"}}));
}

TEST(IsUtf8, KnowsTheForbiddenForms) {
  for (const char* good : {"", "a", "é", "▁", "😀", "\xf4\x8f\xbf\xbf"}) EXPECT_TRUE(IsUtf8(good)) << good;
  for (const char* bad : {"\x80", "\xc3", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xff", "\xe2\x96"})
    EXPECT_FALSE(IsUtf8(bad));
}

TEST(Vocabulary, RefusesContradictions) {
  const auto refuses = [](const std::vector<std::string>& metadata, const char* expected) {
    const std::string bytes = GgufBytes(metadata);
    const std::string message = MessageOf(ErrorCode::kDataLoss, [&] { (void)GgufTokenizerFiles(ParseGguf(bytes)); });
    EXPECT_NE(message.find(expected), std::string::npos) << message;
  };
  const std::vector<std::string> head{String("general.architecture", "llama"), String("tokenizer.ggml.model", "llama")};
  const std::string tokens = Strings("tokenizer.ggml.tokens", {"a", "b"}), scores = Floats("tokenizer.ggml.scores", {0, 0});
  refuses(head, "tokens is missing");
  refuses(With(head, {tokens}), "scores is missing");
  refuses(With(head, {tokens, Floats("tokenizer.ggml.scores", {0})}), "1 entries for 2 tokens");
  refuses(With(head, {tokens, Floats("tokenizer.ggml.scores", {0, std::nanf("")})}), "NaN");
  refuses(With(head, {tokens, scores, Ints("tokenizer.ggml.token_type", {1})}), "1 entries for 2 tokens");
  refuses(With(head, {tokens, scores, Ints("tokenizer.ggml.token_type", {1, 7})}), "the format defines 1 to 6");
  refuses(With(head, {tokens, scores, U32("tokenizer.ggml.bos_token_id", 2)}), "outside the vocabulary of 2");
  refuses(With(head, {Strings("tokenizer.ggml.tokens", {"a", "\xff"}), scores}), "token 1 is not valid UTF-8");
  refuses(With(head, {Strings("tokenizer.ggml.tokens", {"a", std::string(5000, 'x')}), scores}), "5000 bytes long");
  refuses(With(head, {tokens, scores, String("tokenizer.chat_template", "\xff")}), "chat_template is not valid UTF-8");
  const std::vector<std::string> bytes{String("general.architecture", "llama"), String("tokenizer.ggml.model", "gpt2"), tokens};
  refuses(bytes, "merges is missing");
  refuses(With(bytes, {Strings("tokenizer.ggml.merges", {"ab"})}), "expected two pieces");
  refuses(With(bytes, {Strings("tokenizer.ggml.merges", {"a b"})}), "no token");
}

}  // namespace
}  // namespace intaglio::checkpoint
