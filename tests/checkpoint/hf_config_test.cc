#include "checkpoint/hf_config.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/base/temporary_folder.h"

namespace intaglio::checkpoint {
namespace {

const std::vector<std::string> kAllTypes{"default", "linear", "llama3"};

HfConfig Parse(const std::string& json) { return HfConfig::Parse(json, "config.json"); }

TEST(HfConfig, ReadsPublishedConfigsOfEveryFixture) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(INTAGLIO_SOURCE_DIR "/tests/fixtures")) {
    if (!std::filesystem::exists(entry.path() / "config.json")) continue;
    const HfConfig config = HfConfig::Parse(ReadFile(entry.path() / "config.json"), entry.path().string());
    EXPECT_FALSE(config.architecture().empty()) << entry.path();
    EXPECT_TRUE(config.dtype().has_value()) << entry.path();
    ++count;
  }
  EXPECT_GT(count, 20);
}

TEST(HfConfig, LooksUpFields) {
  const HfConfig config = Parse(R"({"architectures":["A","B"],"n":3,"x":2.5,"b":true,"s":"text","none":null,"one":7,"ids":[1,2]})");
  EXPECT_EQ(config.architecture(), "A");
  EXPECT_EQ(config.Int("n"), 3);
  EXPECT_EQ(config.Float("n"), 3.0);
  EXPECT_EQ(config.Float("x"), 2.5);
  EXPECT_TRUE(config.Bool("b"));
  EXPECT_EQ(config.String("s"), "text");
  EXPECT_EQ(config.Ids("one"), (std::vector<int32_t>{7}));
  EXPECT_EQ(config.Ids("ids"), (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(config.Ids("absent"), (std::vector<int32_t>{}));
}

TEST(HfConfig, TreatsNullAsAbsent) {
  const HfConfig config = Parse(R"({"none":null})");
  EXPECT_FALSE(config.has("none"));
  EXPECT_EQ(config.Int("none", 5), 5);
  EXPECT_EQ(config.Float("none", 0.5), 0.5);
  EXPECT_FALSE(config.Bool("none", false));
  EXPECT_EQ(config.String("none", "x"), "x");
}

TEST(HfConfig, NamesAMissingField) {
  const HfConfig config = Parse("{}");
  const std::string message = MessageOf(ErrorCode::kDataLoss, [&] { (void)config.Int("hidden_size"); });
  EXPECT_EQ(message, "config.json: hidden_size is missing; expected a positive integer");
}

TEST(HfConfig, ShowsAFieldOfAnotherType) {
  const HfConfig config = Parse(R"({"n":"64","zero":0,"negative":-1,"fraction":1.5,"huge":9223372036854775808,"list":[1,"a"],"text":1})");
  for (const char* key : {"n", "zero", "negative", "fraction", "huge"}) {
    MessageOf(ErrorCode::kDataLoss, [&] { (void)config.Int(key); });
    MessageOf(ErrorCode::kDataLoss, [&] { (void)config.Int(key, 1); });
  }
  MessageOf(ErrorCode::kDataLoss, [&] { (void)config.Ids("list"); });
  MessageOf(ErrorCode::kDataLoss, [&] { (void)config.Ids("negative"); });
  MessageOf(ErrorCode::kDataLoss, [&] { (void)config.Strings("list"); });
  MessageOf(ErrorCode::kDataLoss, [&] { (void)config.Float("n"); });
  MessageOf(ErrorCode::kDataLoss, [&] { (void)config.Bool("text"); });
  EXPECT_EQ(MessageOf(ErrorCode::kDataLoss, [&] { (void)config.String("text"); }), "config.json: text is 1; expected a string");
}

TEST(HfConfig, RefusesTextThatIsNoJsonObject) {
  for (const char* text : {"", "[1]", "{", "{\"a\":1e999}", "nonsense"}) {
    const std::string message = MessageOf(ErrorCode::kDataLoss, [&] { (void)Parse(text); });
    EXPECT_TRUE(message.starts_with("config.json: ")) << message;
  }
}

TEST(HfConfig, ReadsPythonsInfinityAsNull) {
  const HfConfig config = Parse(R"({"limits":[0.0,Infinity],"x":NaN,"y":-Infinity,"s":"Infinity and \"NaN","n":4})");
  EXPECT_FALSE(config.has("x"));
  EXPECT_FALSE(config.has("y"));
  EXPECT_EQ(config.String("s"), "Infinity and \"NaN");
  EXPECT_EQ(config.Int("n"), 4);
}

TEST(HfConfig, KnowsBothSpellingsOfDtype) {
  EXPECT_EQ(Parse(R"({"torch_dtype":"bfloat16"})").dtype(), "bf16");
  EXPECT_EQ(Parse(R"({"dtype":"float32"})").dtype(), "f32");
  EXPECT_EQ(Parse(R"({"dtype":"float16"})").dtype(), "f16");
  EXPECT_EQ(Parse("{}").dtype(), std::nullopt);
  MessageOf(ErrorCode::kUnsupported, [] { (void)Parse(R"({"dtype":"float8"})").dtype(); });
}

TEST(Rope, DefaultsToThetaTenThousand) {
  const RopeConfig rope = Parse("{}").Rope(kAllTypes);
  EXPECT_EQ(rope.type, "default");
  EXPECT_EQ(rope.theta, 10000.0);
  EXPECT_EQ(rope.factor, 1.0);
}

TEST(Rope, ReadsLlama3InBothStyles) {
  const std::string settings =
      R"("rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":32)";
  const std::string configs[] = {R"({"rope_theta":500000.0,"rope_scaling":{)" + settings + "}}",
                                 R"({"rope_parameters":{"rope_theta":500000.0,)" + settings + "}}"};
  for (const std::string& json : configs) {
    const RopeConfig rope = Parse(json).Rope(kAllTypes);
    EXPECT_EQ(rope.type, "llama3");
    EXPECT_EQ(rope.theta, 500000.0);
    EXPECT_EQ(rope.factor, 8.0);
    EXPECT_EQ(rope.low_freq_factor, 1.0);
    EXPECT_EQ(rope.high_freq_factor, 4.0);
    EXPECT_EQ(rope.original_max_position_embeddings, 32);
  }
}

TEST(HfConfig, ReadsInfinityAsPythonAndAsTransformersWriteIt) {
  const HfConfig config = Parse(R"({"python":[0.5,Infinity],"transformers":[2,{"__float__":"Infinity"}],"words":["a"],"number":3})");
  EXPECT_EQ(config.Floats("python"), (std::vector<double>{0.5, INFINITY}));
  EXPECT_EQ(config.Floats("transformers"), (std::vector<double>{2, INFINITY}));
  EXPECT_EQ(config.Floats("absent"), std::vector<double>{});
  EXPECT_TRUE(config.is_number("number"));
  EXPECT_FALSE(config.is_number("words"));
  for (const char* key : {"words", "number"}) MessageOf(ErrorCode::kDataLoss, [&] { (void)config.Floats(key); });
}

TEST(Rope, ReadsTheOldNameOfItsType) {
  const RopeConfig rope = Parse(R"({"rope_scaling":{"type":"linear","factor":2.0}})").Rope(kAllTypes);
  EXPECT_EQ(rope.type, "linear");
  EXPECT_EQ(rope.factor, 2.0);
}

TEST(Rope, PicksTheLayerTypeOfAKeyedObject) {
  const HfConfig config = Parse(R"({"rope_parameters":{"full_attention":{"rope_type":"linear","factor":8.0,"rope_theta":1000000.0},
                                                       "sliding_attention":{"rope_type":"default","rope_theta":10000.0}}})");
  EXPECT_EQ(config.Rope(kAllTypes, "full_attention").theta, 1000000.0);
  EXPECT_EQ(config.Rope(kAllTypes, "full_attention").factor, 8.0);
  EXPECT_EQ(config.Rope(kAllTypes, "sliding_attention", "rope_local_base_freq").theta, 10000.0);
  EXPECT_EQ(config.Rope(kAllTypes, "sliding_attention", "rope_local_base_freq").type, "default");
  MessageOf(ErrorCode::kDataLoss, [&] { (void)config.Rope(kAllTypes, "chunked_attention"); });
  MessageOf(ErrorCode::kUnsupported, [&] { (void)config.Rope(kAllTypes); });
}

TEST(Rope, NeverScalesASecondBase) {
  const HfConfig config = Parse(R"({"rope_theta":1000000.0,"rope_local_base_freq":10000.0,"rope_scaling":{"rope_type":"linear","factor":8.0}})");
  EXPECT_EQ(config.Rope(kAllTypes, "full_attention").factor, 8.0);
  const RopeConfig local = config.Rope(kAllTypes, "sliding_attention", "rope_local_base_freq");
  EXPECT_EQ(local.theta, 10000.0);
  EXPECT_EQ(local.type, "default");
}

TEST(Rope, ListsWhatIsSupportedForAnUnknownType) {
  const HfConfig config = Parse(R"({"model_type":"llama","rope_scaling":{"rope_type":"yarn","factor":2.0}})");
  const std::string message = MessageOf(ErrorCode::kUnsupported, [&] { (void)config.Rope(kAllTypes); });
  EXPECT_NE(message.find("'yarn' is not supported for llama; supported: default, linear, llama3"), std::string::npos) << message;
}

TEST(Rope, RefusesMissingAndImpossibleSettings) {
  for (
      const char* json :
      {R"({"rope_theta":0})", R"({"rope_theta":"x"})", R"({"rope_scaling":[]})", R"({"rope_scaling":{"rope_type":"linear"}})",
       R"({"rope_scaling":{"rope_type":"linear","factor":-1}})", R"({"rope_scaling":{"rope_type":"llama3","factor":8.0}})",
       R"({"rope_parameters":1})", R"({"rope_scaling":{"rope_type":7}})",
       R"({"rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":4.0,"high_freq_factor":4.0,"original_max_position_embeddings":32}})"}) {
    MessageOf(ErrorCode::kDataLoss, [&] { (void)Parse(json).Rope(kAllTypes); });
  }
}

TEST(Rope, FindsThePartialFactorInEitherPlace) {
  EXPECT_EQ(Parse(R"({"partial_rotary_factor":0.5})").Rope(kAllTypes).partial_rotary_factor, 0.5);
  EXPECT_EQ(
      Parse(R"({"rope_parameters":{"rope_type":"default","rope_theta":1e4,"partial_rotary_factor":0.25}})").Rope(kAllTypes).partial_rotary_factor,
      0.25);
}

}  // namespace
}  // namespace intaglio::checkpoint
