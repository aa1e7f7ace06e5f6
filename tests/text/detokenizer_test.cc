#include "text/detokenizer.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/text/fixtures.h"

namespace intaglio::text {
namespace {

// U+FFFD stands for bytes that are no character, so whole characters is all that a text can be made of.
bool IsWholeUtf8(const std::string& text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = lead < 0x80 ? 1 : lead < 0xC0 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (length == 0 || i + length > text.size()) return false;
    for (size_t k = 1; k < length; ++k) {
      if ((static_cast<unsigned char>(text[i + k]) & 0xC0) != 0x80) return false;
    }
    i += length;
  }
  return true;
}

void ExpectStreamEqualsDecode(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  for (const bool skip_special_tokens : {false, true}) {
    Detokenizer detokenizer(tokenizer, skip_special_tokens);
    std::string text;
    for (const int32_t id : ids) {
      const std::string piece = detokenizer.Push(id);
      ASSERT_TRUE(IsWholeUtf8(piece)) << testing::PrintToString(piece);
      text += piece;
    }
    text += detokenizer.Finish();
    ASSERT_EQ(text, tokenizer.Decode(ids, skip_special_tokens)) << testing::PrintToString(ids);
  }
}

class DetokenizerGolden : public testing::TestWithParam<std::string> {};

TEST_P(DetokenizerGolden, PiecesOfEveryGoldenStringMakeItsDecodedText) {
  const Tokenizer tokenizer = Tokenizer::Load(kFixtures / GetParam());
  const Json golden = Golden(GetParam());
  for (const Json& item : golden["tokenizer"]) ExpectStreamEqualsDecode(tokenizer, item["ids"]);
}

TEST_P(DetokenizerGolden, PiecesOfRandomIdsMakeTheirDecodedText) {
  const Tokenizer tokenizer = Tokenizer::Load(kFixtures / GetParam());
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(StrCat("seed ", seed));
  std::mt19937 random(seed);
  const auto vocab_size = static_cast<int32_t>(tokenizer.vocab_size());
  for (int round = 0; round < 200 && !HasFatalFailure(); ++round) {
    // A narrow range of ids now and then: the byte tokens and the special tokens are neighbours in a vocabulary.
    const int32_t first = round % 2 == 0 ? 0 : std::uniform_int_distribution<int32_t>(0, vocab_size - 1)(random);
    const int32_t last = round % 2 == 0 ? vocab_size - 1 : std::min(first + 40, vocab_size - 1);
    std::uniform_int_distribution<int32_t> any(first, last);
    std::vector<int32_t> ids(round % 50);
    for (int32_t& id : ids) id = any(random);
    ExpectStreamEqualsDecode(tokenizer, ids);
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, DetokenizerGolden, testing::ValuesIn(FixturesWith("tokenizer")),
                         [](const auto& info) { return TestName(info.param); });

TEST(Detokenizer, BytesWaitUntilTheCharacterIsWhole) {
  const Tokenizer tokenizer = Tokenizer::Load(kFixtures / "llama-tiny");
  const std::vector<int32_t> ids = tokenizer.Encode("\U0001F600!", false);
  ASSERT_EQ(ids.size(), 5u) << "the fixture's vocabulary spells an emoji in four byte tokens";
  Detokenizer detokenizer(tokenizer, false);
  EXPECT_EQ(detokenizer.Push(ids[0]), "");
  EXPECT_EQ(detokenizer.Push(ids[1]), "");
  EXPECT_EQ(detokenizer.Push(ids[2]), "");
  EXPECT_EQ(detokenizer.Push(ids[3]), "\U0001F600");
  EXPECT_EQ(detokenizer.Push(ids[4]), "!");
  EXPECT_EQ(detokenizer.Finish(), "");
}

TEST(Detokenizer, AnIncompleteCharacterAtTheEndBecomesTheReplacementCharacter) {
  const Tokenizer tokenizer = Tokenizer::Load(kFixtures / "llama-tiny");
  Detokenizer detokenizer(tokenizer, false);
  EXPECT_EQ(detokenizer.Push(tokenizer.Encode("\U0001F600", false)[0]), "");
  EXPECT_EQ(detokenizer.Finish(), "\uFFFD");
  EXPECT_EQ(detokenizer.Push(tokenizer.Encode("a", false)[0]), "a") << "a new text starts after Finish()";
}

TEST(Detokenizer, WordsOfASentencePieceVocabularyComeOutAtOnce) {
  const Tokenizer tokenizer = Tokenizer::Load(kFixtures / "tokenizer-unigram");
  Detokenizer detokenizer(tokenizer, false);
  std::string text;
  for (const int32_t id : tokenizer.Encode("Hello, world! Hello", false)) text += detokenizer.Push(id);
  EXPECT_EQ(text, "Hello, world! Hello");
}

TEST(Detokenizer, AnIdBeyondTheVocabularyStandsForNoTextAndANegativeOneIsAnError) {
  const Tokenizer tokenizer = Tokenizer::Load(kFixtures / "llama-tiny");
  const std::vector<int32_t> ids = tokenizer.Encode("\U0001F600", false);
  Detokenizer detokenizer(tokenizer, false);
  std::string text = detokenizer.Push(ids[0]);
  EXPECT_EQ(detokenizer.Push(1024), "");
  EXPECT_THROW((void)detokenizer.Push(-1), Error);
  for (size_t i = 1; i < ids.size(); ++i) text += detokenizer.Push(ids[i]);
  EXPECT_EQ(text, "\U0001F600");
}

// Decoders whose texts depend on what follows, or on all before, need other ways than the usual ones.
TEST(Detokenizer, PiecesMakeTheDecodedTextWithDecodersOfEveryKind) {
  const Json vocab = {{"a", 0},      {"b</w>", 1},  {" ", 2},   {"\u2581", 3}, {"\u2581a", 4},
                      {"<0xF0>", 5}, {"<0x61>", 6}, {"##b", 7}, {".", 8},      {"\u0120a", 9}};
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(StrCat("seed ", seed));
  std::mt19937 random(seed);
  std::uniform_int_distribution<int32_t> any(0, static_cast<int32_t>(vocab.size()) - 1);
  for (
      const char* decoder :
      {"null", R"({"type": "BPEDecoder", "suffix": "</w>"})", R"({"type": "CTC", "pad_token": "a", "word_delimiter_token": "b", "cleanup": true})",
       R"({"type": "WordPiece", "prefix": "##", "cleanup": true})",
       R"({"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": true})",
       R"({"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": true}]})",
       R"({"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "Replace", "pattern": {"Regex": "a. "}, "content": "x"}]})",
       R"({"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 0, "stop": 1}]})",
       R"({"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 2, "stop": 0}]})",
       R"({"type": "Sequence", "decoders": [{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})",
       R"({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true})"}) {
    SCOPED_TRACE(decoder);
    const Json json = {{"version", "1.0"},
                       {"added_tokens", Json::array()},
                       {"decoder", Json::parse(decoder)},
                       {"model", {{"type", "WordLevel"}, {"vocab", vocab}, {"unk_token", "a"}}}};
    const Tokenizer tokenizer = Tokenizer::FromJson(json.dump());
    for (int round = 0; round < 300 && !HasFatalFailure(); ++round) {
      std::vector<int32_t> ids(1 + round % 12);
      for (int32_t& id : ids) id = any(random);
      ExpectStreamEqualsDecode(tokenizer, ids);
    }
  }
}

}  // namespace
}  // namespace intaglio::text
