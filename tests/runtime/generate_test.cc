#include <gtest/gtest.h>

#include <cstring>

#include "exported.h"
#include "intaglio/engine.h"
#include "intaglio/error.h"

namespace intaglio {
namespace {

using test::ExportedBundle;

GenerateRequest Request(std::vector<int32_t> prompt, int32_t max_tokens) {
  GenerateRequest request;
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  return request;
}

std::string MessageOf(Engine& engine, const GenerateRequest& request) {
  try {
    (void)Generate(engine, request);
  } catch (const Error& e) { return e.what(); }
  return "no error";
}

class GenerateFixture : public testing::TestWithParam<const char*> {};

TEST_P(GenerateFixture, GreedyTokensAreThoseOfTransformers) {
  const auto engine = Engine::Load(ExportedBundle(GetParam()));
  for (const test::GoldenPrompt& golden : test::GoldenPrompts(GetParam())) {
    const GenerateResult result = Generate(*engine, Request(golden.input_ids, static_cast<int32_t>(golden.greedy_ids.size())));
    EXPECT_EQ(result.ids, golden.greedy_ids);
    EXPECT_EQ(result.finish_reason, "length");
  }
}

INSTANTIATE_TEST_SUITE_P(Families, GenerateFixture, testing::Values("llama-tiny", "mistral-tiny", "qwen2-tiny", "qwen3-tiny", "gemma3-text-tiny"));

class GenerateTest : public testing::Test {
 protected:
  std::unique_ptr<Engine> engine_ = Engine::Load(ExportedBundle("llama-tiny"));
  test::GoldenPrompt golden_ = test::GoldenPrompts("llama-tiny").at(1);
};

TEST_F(GenerateTest, EndsWithAStopId) {
  GenerateRequest request = Request(golden_.input_ids, 48);
  request.stop_ids = {golden_.greedy_ids[5]};
  const GenerateResult result = Generate(*engine_, request);
  const auto first = std::find(golden_.greedy_ids.begin(), golden_.greedy_ids.end(), golden_.greedy_ids[5]);
  EXPECT_EQ(result.ids, std::vector<int32_t>(golden_.greedy_ids.begin(), first + 1));
  EXPECT_EQ(result.finish_reason, "stop");
}

TEST_F(GenerateTest, EndsWhenTheContextIsFull) {
  const GenerateResult result = Generate(*engine_, Request(std::vector<int32_t>(190, 3), 48));
  EXPECT_EQ(result.ids.size(), 3u);  // two more fit, and what follows the last one is known too
  EXPECT_EQ(result.finish_reason, "length");
}

TEST_F(GenerateTest, EndsWhenItsCallerSaysSo) {
  GenerateRequest request = Request(golden_.input_ids, 48);
  int32_t count = 0;
  request.on_token = [&](int32_t) { return ++count < 4; };
  const GenerateResult result = Generate(*engine_, request);
  EXPECT_EQ(result.ids.size(), 4u);
  EXPECT_EQ(result.finish_reason, "cancelled");

  request.on_token = nullptr;
  request.chunk = 5;
  request.on_prefill = [](int32_t done, int32_t) { return done < 10; };
  const GenerateResult cut = Generate(*engine_, request);
  EXPECT_TRUE(cut.ids.empty());
  EXPECT_EQ(cut.finish_reason, "cancelled");
}

TEST_F(GenerateTest, AllLogitsAreOneRowPerTokenButTheLast) {
  GenerateRequest request = Request(golden_.input_ids, 6);
  request.all_logits = true;
  const GenerateResult result = Generate(*engine_, request);
  const auto vocab = static_cast<size_t>(engine_->info().vocab_size);
  ASSERT_EQ(result.logits.size(), (golden_.input_ids.size() + 5) * vocab);
  for (size_t i = 0; i < result.ids.size(); ++i) {
    const auto row = result.logits.begin() + static_cast<ptrdiff_t>((golden_.input_ids.size() - 1 + i) * vocab);
    EXPECT_EQ(std::max_element(row, row + static_cast<ptrdiff_t>(vocab)) - row, result.ids[i]);
  }
  request.max_tokens = 0;
  EXPECT_EQ(Generate(*engine_, request).logits.size(), golden_.input_ids.size() * vocab);
}

TEST_F(GenerateTest, AKeptSlotComputesOnlyWhatIsNew) {
  GenerateRequest request = Request(golden_.input_ids, 8);
  request.slot = engine_->AcquireSlot().value();
  (void)Generate(*engine_, request);
  request.prompt.insert(request.prompt.end(), golden_.greedy_ids.begin(), golden_.greedy_ids.begin() + 8);
  const GenerateResult result = Generate(*engine_, request);
  EXPECT_EQ(result.reused_tokens, static_cast<int32_t>(request.prompt.size()) - 1);
  EXPECT_EQ(result.ids, std::vector<int32_t>(golden_.greedy_ids.begin() + 8, golden_.greedy_ids.begin() + 16));
}

TEST_F(GenerateTest, AKeptSlotOfASlidingModelStartsAgainWhereItMust) {
  const auto engine = Engine::Load(ExportedBundle("mistral-tiny"));
  const test::GoldenPrompt golden = test::GoldenPrompts("mistral-tiny").at(2);
  GenerateRequest request = Request(golden.input_ids, 48);
  request.slot = engine->AcquireSlot().value();
  (void)Generate(*engine, request);
  request.max_tokens = 8;
  const GenerateResult result = Generate(*engine, request);
  EXPECT_EQ(result.ids, std::vector<int32_t>(golden.greedy_ids.begin(), golden.greedy_ids.begin() + 8));
}

TEST_F(GenerateTest, SampledTokensDependOnTheSeedAlone) {
  GenerateRequest request = Request(golden_.input_ids, 24);
  request.sampling = {.temperature = 1.0f, .seed = 7};
  const std::vector<int32_t> ids = Generate(*engine_, request).ids;
  request.chunk = 3;
  EXPECT_EQ(Generate(*engine_, request).ids, ids);
  request.sampling.seed = 8;
  EXPECT_NE(Generate(*engine_, request).ids, ids);
}

TEST_F(GenerateTest, RefusalsNameTheNumbers) {
  const std::string too_long = MessageOf(*engine_, Request(std::vector<int32_t>(500, 3), 1));
  EXPECT_NE(too_long.find("500 tokens"), std::string::npos) << too_long;
  EXPECT_NE(too_long.find("192"), std::string::npos) << too_long;
  EXPECT_NE(MessageOf(*engine_, Request({}, 1)).find("empty"), std::string::npos);
  EXPECT_NE(MessageOf(*engine_, Request({1 << 20}, 1)).find("1048576"), std::string::npos);
  while (engine_->AcquireSlot()) {}
  EXPECT_NE(MessageOf(*engine_, Request({3}, 1)).find("all 3 slots"), std::string::npos);
}

TEST_F(GenerateTest, AFailureGivesTheSlotBack) {
  for (int i = 0; i < 4; ++i) (void)MessageOf(*engine_, Request({1 << 20}, 1));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(engine_->AcquireSlot().has_value());
}

}  // namespace
}  // namespace intaglio
