#include "runtime/ranks/thread_ranks.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "exported.h"
#include "intaglio/engine.h"

namespace intaglio::runtime {
namespace {

constexpr int kRanks = 4;

// A bundle whose files one may spoil.
class ThreadRanksTest : public testing::Test {
 protected:
  ThreadRanksTest() { std::filesystem::copy(test::ExportedBundle("llama-tiny", /*speculation=*/0, kRanks), bundle_); }
  [[nodiscard]] std::string LoadError(ErrorCode code) const {
    return MessageOf(code, [&] { (void)Engine::Load(bundle_, {.threads = kRanks}); });
  }
  [[nodiscard]] std::filesystem::path weights(int rank) const { return bundle_ / bundle::WeightsFile(rank); }

 private:
  TemporaryFolder folder_;

 protected:
  const std::filesystem::path bundle_ = folder_.path() / "bundle";
};

TEST_F(ThreadRanksTest, WeightsThatAreMissingNameTheRank) {
  std::filesystem::remove(weights(2));
  const std::string message = LoadError(ErrorCode::kDataLoss);
  EXPECT_TRUE(message.starts_with("rank 2 of 4: ")) << message;
  EXPECT_NE(message.find("weights.rank2.bin: is missing from the bundle"), std::string::npos) << message;
}

TEST_F(ThreadRanksTest, WeightsThatAreCutShortNameTheRank) {
  std::filesystem::resize_file(weights(3), 1000);
  const std::string message = LoadError(ErrorCode::kDataLoss);
  EXPECT_TRUE(message.starts_with("rank 3 of 4: ")) << message;
  EXPECT_NE(message.find("is 1000 bytes, the manifest says"), std::string::npos) << message;
}

TEST_F(ThreadRanksTest, WhatSeveralRanksMissIsOneError) {
  for (int rank = 1; rank < kRanks; ++rank) std::filesystem::remove(weights(rank));
  EXPECT_NE(LoadError(ErrorCode::kDataLoss).find(" is missing from the bundle"), std::string::npos);
}

TEST_F(ThreadRanksTest, AnEngineThatNobodyUsedEnds) {
  for (int round = 0; round < 5; ++round) (void)Engine::Load(bundle_, {.threads = kRanks});
}

TEST_F(ThreadRanksTest, AStepThatCannotBeLeavesTheRanksToTheNext) {
  const auto engine = Engine::Load(bundle_, {.threads = kRanks});
  const int32_t slot = engine->AcquireSlot().value();
  const std::vector<int32_t> wrong{-1}, right{5, 6};
  const auto step = [&](const std::vector<int32_t>& tokens) {
    const StepSequence sequence{.slot = slot, .tokens = tokens};
    return engine->Step(StepKind::kContextEncoding, {&sequence, 1})[0].id;
  };
  EXPECT_THROW((void)step(wrong), Error);
  const int32_t id = step(right);
  engine->Truncate(slot, 0);
  EXPECT_EQ(step(right), id);
}

}  // namespace
}  // namespace intaglio::runtime
