// Nothing here depends on how fast the machine is.
#include "intaglio/costs.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <tuple>

#include "base/cpus.h"
#include "exported.h"
#include "tests/base/temporary_folder.h"

namespace intaglio {
namespace {

using test::ExportedBundle;
using Step = std::tuple<StepKind, int32_t, int32_t>;   // kind, rows, depth

std::set<Step> StepsOf(const CostTable& table) {
  std::set<Step> steps;
  for (const StepCost& cost : table.steps) {
    EXPECT_TRUE(0 < cost.least && cost.least <= cost.seconds && cost.seconds <= cost.most) << cost.rows;
    EXPECT_TRUE(steps.insert({cost.kind, cost.rows, cost.depth}).second) << cost.rows << " rows twice";
  }
  return steps;
}

TEST(MeasureCosts, TimesEveryGraphFromAnEmptyToAFullContext) {
  const auto engine = Engine::Load(ExportedBundle("llama-tiny", /*speculation=*/3), {.threads = 2});
  const CostTable table = MeasureCosts(*engine, {.depths = {0, 192}, .repeat = 2});
  std::set<Step> expected;
  for (int32_t rows : {16, 64})
    for (int32_t depth : {0, 192 - rows}) expected.insert({StepKind::kContextEncoding, rows, depth});
  for (int32_t batch : {1, 2, 3}) {
    for (int32_t depth : {0, 191}) expected.insert({StepKind::kTokenGeneration, batch, depth});
    for (int32_t depth : {0, 188}) expected.insert({StepKind::kSpeculation, 4 * batch, depth});
  }
  EXPECT_EQ(StepsOf(table), expected);
  EXPECT_EQ(table.cpu, CpuModel());
  EXPECT_EQ(table.threads, 2);
}

TEST(MeasureCosts, LeavesAllSlotsFree) {
  const auto engine = Engine::Load(ExportedBundle("llama-tiny"), {.threads = 1});
  (void)MeasureCosts(*engine, {.depths = {0}, .repeat = 1});
  for (int slot = 0; slot < engine->info().max_slots; ++slot) EXPECT_TRUE(engine->AcquireSlot().has_value());
}

TEST(MeasureCosts, DepthsOfTheirOwnAreZeroAndTheFullContextOfAShortBundle) {
  const auto engine = Engine::Load(ExportedBundle("gemma3-text-tiny"), {.threads = 1});   // with sliding windows
  const std::set<Step> steps = StepsOf(MeasureCosts(*engine, {.repeat = 2}));
  EXPECT_EQ(steps.size(), 2u * (2 + 3));
  EXPECT_TRUE(steps.contains({StepKind::kTokenGeneration, 3, 191}));
}

TEST(MeasureCosts, ARecurrentStateIsComputedAgainBetweenSteps) {
  const auto engine = Engine::Load(ExportedBundle("qwen3-next-tiny"), {.threads = 1});
  ASSERT_TRUE(engine->info().is_recurrent);
  EXPECT_TRUE(StepsOf(MeasureCosts(*engine, {.depths = {20}, .repeat = 2})).contains({StepKind::kTokenGeneration, 1, 20}));
}

TEST(MeasureCosts, ErrorsSayWhy) {
  const auto engine = Engine::Load(ExportedBundle("llama-tiny"), {.threads = 1});
  EXPECT_NE(MessageOf(ErrorCode::kInvalidArgument, [&] { (void)MeasureCosts(*engine, {.depths = {193}}); }).find("193"), std::string::npos);
  const int32_t slot = engine->AcquireSlot().value();
  EXPECT_NE(MessageOf(ErrorCode::kResourceExhausted, [&] { (void)MeasureCosts(*engine); }).find("in use"), std::string::npos);
  engine->ReleaseSlot(slot);
  EXPECT_NO_THROW((void)MeasureCosts(*engine, {.depths = {0}, .repeat = 1}));
}

TEST(EngineCosts, AreThoseStoredForThisMachineAndItsThreads) {
  const TemporaryFolder folder;
  const std::filesystem::path bundle = folder.path() / "bundle";
  std::filesystem::copy(ExportedBundle("llama-tiny"), bundle);
  const auto engine = Engine::Load(bundle, {.threads = 2});
  EXPECT_FALSE(engine->costs().has_value());
  StoreCosts(bundle, MeasureCosts(*engine, {.depths = {0, 64}, .repeat = 1}));
  const auto again = Engine::Load(bundle, {.threads = 2}), other = Engine::Load(bundle, {.threads = 1});
  EXPECT_EQ(StepsOf(again->costs().value()).size(), 2u * (2 + 3));
  EXPECT_FALSE(other->costs().has_value());
}

TEST(CpuModel, IsTheOneThatLinuxTells) {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (!line.starts_with("model name")) continue;
    EXPECT_NE(line.find(CpuModel()), std::string::npos) << line;
  }
  EXPECT_FALSE(CpuModel().empty());
}

}  // namespace
}  // namespace intaglio
