#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include "tests/text/fixtures.h"

namespace intaglio::text {
namespace {

class TokenizerGolden : public testing::TestWithParam<std::string> {};

TEST_P(TokenizerGolden, IdsAndTextsAreThoseOfTransformers) {
  const Tokenizer tokenizer = Tokenizer::Load(kFixtures / GetParam());
  const Json golden = Golden(GetParam());
  ASSERT_FALSE(golden["tokenizer"].empty());
  for (const Json& item : golden["tokenizer"]) {
    const std::string text = item["text"];
    SCOPED_TRACE(testing::PrintToString(text));
    const auto ids = item["ids_no_special"].get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer.Encode(text, /*add_special_tokens=*/true), item["ids"].get<std::vector<int32_t>>());
    EXPECT_EQ(tokenizer.Encode(text, /*add_special_tokens=*/false), ids);
    EXPECT_EQ(tokenizer.Decode(ids, /*skip_special_tokens=*/false), item["decode"]);
    EXPECT_EQ(tokenizer.Decode(ids, /*skip_special_tokens=*/true), item["decode_skip_special"]);
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, TokenizerGolden, testing::ValuesIn(FixturesWith("tokenizer")),
                         [](const auto& info) { return TestName(info.param); });

class PromptGolden : public testing::TestWithParam<std::string> {};

TEST_P(PromptGolden, PromptsOfTheModelHaveTheIdsOfTransformers) {
  const Tokenizer tokenizer = Tokenizer::Load(kFixtures / GetParam());
  const Json golden = Golden(GetParam());
  for (const Json& prompt : golden["prompts"]) {
    EXPECT_EQ(tokenizer.Encode(prompt["text"].get<std::string>(), /*add_special_tokens=*/true), prompt["input_ids"].get<std::vector<int32_t>>());
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, PromptGolden, testing::ValuesIn(FixturesWith("prompts")), [](const auto& info) { return TestName(info.param); });

TEST(Tokenizer, VocabularySizeCountsAddedTokens) { EXPECT_EQ(Tokenizer::Load(kFixtures / "llama-tiny").vocab_size(), 1024); }

TEST(Tokenizer, InvalidUtf8IsAnErrorThatNamesTheByte) {
  const Tokenizer tokenizer = Tokenizer::Load(kFixtures / "llama-tiny");
  const auto [code, message] = Caught([&] { (void)tokenizer.Encode("ab\xff", true); });
  EXPECT_EQ(code, ErrorCode::kInvalidArgument);
  EXPECT_NE(message.find("byte 2 is 0xff"), std::string::npos) << message;
}

TEST(Tokenizer, IdsBeyondTheVocabularyStandForNoText) {
  const Tokenizer tokenizer = Tokenizer::Load(kFixtures / "llama-tiny");
  const std::string text = tokenizer.Decode(std::vector<int32_t>{5, 6}, false);
  for (const int32_t id : {1024, 2147483647}) EXPECT_EQ(tokenizer.Decode(std::vector<int32_t>{5, id, 6}, false), text);
}

TEST(Tokenizer, NegativeIdsCannotBeDecoded) {
  const Tokenizer tokenizer = Tokenizer::Load(kFixtures / "llama-tiny");
  const auto [code, message] = Caught([&] { (void)tokenizer.Decode(std::vector<int32_t>{5, -1}, false); });
  EXPECT_EQ(code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(message, "token id -1 is negative");
}

TEST(Tokenizer, AFolderWithoutTokenizerIsNotFound) {
  EXPECT_EQ(Caught([] { (void)Tokenizer::Load(kFixtures / "sampling"); }).first, ErrorCode::kNotFound);
}

TEST(Tokenizer, MalformedJsonIsDataLoss) {
  for (const char* json :
       {"", "{", "[]", "{}", "null", R"({"model": {"type": "BPE"}})", R"({"model": {"type": "Nonsense"}})",
        R"({"decoder": 3, "model": {"type": "BPE", "vocab": {}, "merges": []}})", R"({"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}})",
        R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}})", "\xff\xfe"}) {
    const auto [code, message] = Caught([&] { (void)Tokenizer::FromJson(json); });
    EXPECT_EQ(code, ErrorCode::kDataLoss) << json;
    EXPECT_NE(message.find("tokenizer.json"), std::string::npos) << json << ": " << message;
  }
}

constexpr const char* kTwoTokens = R"({"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}})";

TEST(Tokenizer, TruncationAndPaddingOfTheFileAreIgnored) {
  Json json = Json::parse(kTwoTokens);
  json["truncation"] = {{"direction", "Right"}, {"max_length", 1}, {"strategy", "LongestFirst"}, {"stride", 0}};
  json["padding"] = {{"strategy", {{"Fixed", 8}}}, {"direction", "Right"}, {"pad_to_multiple_of", nullptr}, {"pad_id", 0},
                     {"pad_type_id", 0},           {"pad_token", "a"}};
  EXPECT_EQ(Tokenizer::FromJson(json.dump()).Encode("abba", false), (std::vector<int32_t>{0, 1, 1, 0}));
}

TEST(Tokenizer, SpecialTokensThatOnlyTheConfigNamesAreAdded) {
  const TemporaryFolder folder;
  folder.Write("tokenizer.json", kTwoTokens);
  folder.Write("tokenizer_config.json", R"({"eos_token": {"content": "<end>"}, "extra_special_tokens": ["<x>"], "add_bos_token": true,
      "added_tokens_decoder": {"3": {"content": "<y>", "special": false}, "2": {"content": "<z>", "special": true}}})");
  const Tokenizer tokenizer = Tokenizer::Load(folder.path());
  EXPECT_EQ(tokenizer.Encode("a<end>b<x><y><z>", true), (std::vector<int32_t>{0, 4, 1, 5, 3, 2}));
  EXPECT_EQ(tokenizer.Decode(std::vector<int32_t>{0, 4, 5, 3, 2}, true), "a <y>");
}

TEST(Tokenizer, AMalformedConfigIsDataLoss) {
  const TemporaryFolder folder;
  folder.Write("tokenizer.json", kTwoTokens);
  for (const char* config : {"{", "[1]", R"({"added_tokens_decoder": {"one": {"content": "a"}}})"}) {
    folder.Write("tokenizer_config.json", config);
    EXPECT_EQ(Caught([&] { (void)Tokenizer::Load(folder.path()); }).first, ErrorCode::kDataLoss) << config;
  }
}

}  // namespace
}  // namespace intaglio::text
