// Two bundles on a text. The text is a fixture's longest sequence; what is expected is computed anew from whole prompts' logits.
#include "intaglio/accuracy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <numeric>

#include "base/fail.h"
#include "parity/temporary_directory.h"
#include "tests/parity/exported.h"

namespace intaglio::test {
namespace {

namespace fs = std::filesystem;

std::vector<int32_t> Text() { return LongSequence("llama-tiny"); }

std::string MessageOf(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) { return error.what(); }
  return "";
}

// Log-probabilities [tokens, vocab] of what follows each token of a window.
std::vector<double> LogProbabilities(const fs::path& bundle, const std::vector<int32_t>& window) {
  const auto engine = Engine::Load(bundle, {.threads = 2});
  GenerateRequest request;
  request.prompt = window, request.max_tokens = 0, request.all_logits = true;
  const GenerateResult result = Generate(*engine, request);
  const auto vocab = static_cast<size_t>(engine->info().vocab_size);
  std::vector<double> logprobs(result.logits.begin(), result.logits.end());
  for (size_t row = 0; row < logprobs.size(); row += vocab) {
    double sum = 0;
    for (size_t i = 0; i < vocab; ++i) sum += std::exp(logprobs[row + i]);
    for (size_t i = 0; i < vocab; ++i) logprobs[row + i] -= std::log(sum);
  }
  return logprobs;
}

TEST(CompareOnText, IsWhatTheLogitsOfWholeWindowsSay) {
  constexpr size_t kWindow = 20, kVocab = 1024;
  const fs::path ours = ExportedBundle("llama-tiny", "bf16"), reference = ExportedBundle("llama-tiny", "f32");
  std::vector<int32_t> text = Text();
  text.front() = 5;   // not BOS
  std::vector<double> divergences;
  double loss = 0;
  for (size_t begin = 0; begin + kWindow <= text.size(); begin += kWindow) {
    const std::vector<int32_t> window(text.begin() + static_cast<int64_t>(begin), text.begin() + static_cast<int64_t>(begin + kWindow));
    const std::vector<double> q = LogProbabilities(ours, window), p = LogProbabilities(reference, window);
    for (size_t row = kWindow / 2; row + 1 < kWindow; ++row) {
      double& divergence = divergences.emplace_back(0);
      for (size_t i = row * kVocab; i < (row + 1) * kVocab; ++i) divergence += std::exp(p[i]) * (p[i] - q[i]);
      loss -= q[row * kVocab + static_cast<size_t>(window[row + 1])];
    }
  }
  const TextAccuracy accuracy = CompareOnText(ours, reference, text, {.context = kWindow});
  const auto count = static_cast<double>(divergences.size());
  EXPECT_EQ(accuracy.tokens, std::ssize(divergences));
  EXPECT_EQ(accuracy.windows, std::ssize(text) / static_cast<int64_t>(kWindow));
  EXPECT_NEAR(accuracy.kl_mean, std::accumulate(divergences.begin(), divergences.end(), 0.0) / count, 1e-10);
  EXPECT_NEAR(accuracy.kl_worst, *std::ranges::max_element(divergences), 1e-10);
  EXPECT_LE(accuracy.kl_p99, accuracy.kl_worst);
  EXPECT_NEAR(accuracy.perplexity / std::exp(loss / count), 1, 1e-10);
  EXPECT_GT(accuracy.kl_mean, 1e-6);
}

TEST(CompareOnText, OfABundleWithItselfIsExactlyNothing) {
  const fs::path bundle = ExportedBundle("llama-tiny", "bf16");
  const TextAccuracy accuracy = CompareOnText(bundle, bundle, Text(), {.context = 32});
  EXPECT_EQ(accuracy.kl_worst, 0.0);
  EXPECT_EQ(accuracy.top1_agreement, 1.0);
  EXPECT_EQ(accuracy.perplexity, accuracy.reference_perplexity);
}

TEST(CompareOnText, EveryWindowBeginsWithBosWhereTheTextDoes) {
  const fs::path bundle = ExportedBundle("llama-tiny", "f32");
  std::vector<int32_t> text = Text();
  text.front() = Engine::Load(bundle, {.threads = 1})->info().bos_id;
  const std::vector<int32_t> second(text.begin() + 32, text.begin() + 64);
  std::vector<int32_t> with_bos = second;
  with_bos.front() = text.front();
  const auto perplexity = [&](std::span<const int32_t> ids) { return CompareOnText(bundle, bundle, ids, {.context = 32}).perplexity; };
  const double both = perplexity(std::span(text).first(64)), first = perplexity(std::span(text).first(32));
  EXPECT_NEAR(both, std::sqrt(first * perplexity(with_bos)), 1e-9 * both);
  EXPECT_NE(perplexity(with_bos), perplexity(second));
}

TEST(CompareOnText, ThreadsAndInstructionSetsChangeNoFigure) {
  const auto figures = [](const EngineOptions& engine) {
    return CompareOnText(ExportedBundle("llama-tiny", "bf16"), ExportedBundle("llama-tiny", "f32"), Text(), {.context = 24, .engine = engine});
  };
  const TextAccuracy one = figures({.threads = 1, .isa = "scalar"}), two = figures({.threads = 2});
  EXPECT_EQ(one.kl_mean, two.kl_mean);
  EXPECT_EQ(one.kl_p99, two.kl_p99);
  EXPECT_EQ(one.perplexity, two.perplexity);
}

TEST(CompareOnText, UsesNoMoreOfTheTextThanAsked) {
  const fs::path bundle = ExportedBundle("llama-tiny", "f32");
  EXPECT_EQ(CompareOnText(bundle, bundle, Text(), {.context = 16, .max_tokens = 40}).windows, 2);
}

TEST(CompareOnText, ErrorsSayWhatToChange) {
  const fs::path llama = ExportedBundle("llama-tiny", "f32");
  const std::vector<int32_t> text = Text();
  const auto message = [&](std::span<const int32_t> ids, int64_t context) {
    return MessageOf([&] { (void)CompareOnText(llama, llama, ids, {.context = context}); });
  };
  EXPECT_NE(message(std::span(text).first(10), 0).find("has 10 tokens"), std::string::npos);
  EXPECT_NE(message({}, 8).find("--context"), std::string::npos);
  EXPECT_NE(message(text, 193).find("--max-context 193"), std::string::npos);
  EXPECT_NE(message(text, 2).find("--context 3"), std::string::npos);
}

class Files : public testing::Test {
 protected:
  [[nodiscard]] fs::path Write(const std::string& text) const {
    std::ofstream(directory_.path() / "file") << text;
    return directory_.path() / "file";
  }
  const parity::TemporaryDirectory directory_;
};

TEST_F(Files, IdsAreAJsonListOrNumbersBetweenWhiteSpace) {
  const std::vector<int32_t> expected{1, 22, 333};
  EXPECT_EQ(ReadTokenIds(Write(" [1, 22,\n333]\n")), expected);
  EXPECT_EQ(ReadTokenIds(Write("1 22\n\t333 \n")), expected);
  EXPECT_TRUE(ReadTokenIds(Write("")).empty());
}

TEST_F(Files, WhatIsNoIdIsNamed) {
  EXPECT_NE(MessageOf([&] { (void)ReadTokenIds(Write("1 2x 3")); }).find("\"2x\""), std::string::npos);
  EXPECT_NE(MessageOf([&] { (void)ReadTokenIds(Write("1 -2 3")); }).find("\"-2\""), std::string::npos);
  EXPECT_NE(MessageOf([&] { (void)ReadTokenIds(Write("[1, \"a\"]")); }).find("item 1"), std::string::npos);
  EXPECT_NE(MessageOf([&] { (void)ReadTokenIds(Write("[1, 18446744073709551615]")); }).find("item 1"), std::string::npos);
  EXPECT_NE(MessageOf([&] { (void)ReadTokenIds(Write("[1, 2")); }).find("not a JSON list"), std::string::npos);
}

TEST_F(Files, TokenizersThatDisagreeAreAnError) {
  const fs::path llama = ExportedBundle("llama-tiny", "f32"), other = FixturePath("tokenizer-unigram");
  const fs::path text = Write("Once upon a time, there was a text.");
  EXPECT_EQ(ReadTextTokens(llama, llama, text).front(), Engine::Load(llama, {.threads = 1})->info().bos_id);
  EXPECT_NE(MessageOf([&] { (void)ReadTextTokens(llama, other, text); }).find("different tokenizers"), std::string::npos);
}

}  // namespace
}  // namespace intaglio::test
