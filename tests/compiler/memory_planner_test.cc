#include "compiler/memory_planner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace intaglio::compiler {
namespace {

bool AreLiveAtOnce(const Lifetime& a, const Lifetime& b) { return a.first_node <= b.last_node && b.first_node <= a.last_node; }

// No two values that live at once share a byte, and all lie in the arena.
void ExpectSound(const std::vector<Lifetime>& values, const ArenaPlan& plan) {
  ASSERT_EQ(plan.offsets.size(), values.size());
  EXPECT_EQ(plan.arena_bytes % kArenaAlignment, 0u);
  for (size_t i = 0; i < values.size(); ++i) {
    const uint64_t begin = plan.offsets[i], end = begin + values[i].bytes;
    EXPECT_EQ(begin % kArenaAlignment, 0u) << i;
    EXPECT_LE(end, plan.arena_bytes) << i;
    for (size_t j = 0; j < i; ++j) {
      if (!AreLiveAtOnce(values[i], values[j])) continue;
      const bool is_apart = end <= plan.offsets[j] || plan.offsets[j] + values[j].bytes <= begin;
      EXPECT_TRUE(is_apart) << "values " << j << " and " << i << " overlap";
    }
  }
}

// What no plan can do without: the most bytes that live at one node, each value rounded up.
uint64_t MostLiveBytes(const std::vector<Lifetime>& values, int32_t num_nodes) {
  uint64_t most = 0;
  for (int32_t node = 0; node < num_nodes; ++node) {
    uint64_t live = 0;
    for (const Lifetime& value : values) {
      if (value.first_node <= node && node <= value.last_node) live += (value.bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
    }
    most = std::max(most, live);
  }
  return most;
}

std::vector<Lifetime> RandomLifetimes(std::mt19937& random, int32_t num_nodes) {
  std::vector<Lifetime> values(random() % 60);
  for (Lifetime& value : values) {
    value.first_node = static_cast<int32_t>(random() % static_cast<uint32_t>(num_nodes));
    value.last_node = std::min(num_nodes - 1, value.first_node + static_cast<int32_t>(random() % 8));
    value.bytes = random() % 2 == 0 ? random() % 300 : 64 * (random() % 20);   // some are empty, many are equal
  }
  return values;
}

TEST(PlanArena, OfNothingIsEmpty) { EXPECT_EQ(PlanArena({}).arena_bytes, 0u); }

TEST(PlanArena, DisjointLifetimesShareBytes) {
  const std::vector<Lifetime> values{{0, 1, 640}, {2, 3, 640}};
  EXPECT_EQ(PlanArena(values).arena_bytes, 640u);
}

TEST(PlanArena, ValuesThatMeetInOneNodeDoNotShareBytes) {
  const std::vector<Lifetime> values{{0, 1, 640}, {1, 2, 640}};
  EXPECT_EQ(PlanArena(values).arena_bytes, 1280u);
}

TEST(PlanArena, FillsAHoleBetweenLargerValues) {
  const std::vector<Lifetime> values{{0, 9, 640}, {0, 4, 512}, {0, 9, 320}, {5, 9, 512}};
  const ArenaPlan plan = PlanArena(values);
  EXPECT_EQ(plan.offsets[3], plan.offsets[1]);
  EXPECT_EQ(plan.arena_bytes, 640u + 512u + 320u);
}

TEST(PlanArena, AChainTakesItsTwoLargestNeighbours) {
  std::vector<Lifetime> values;
  for (int32_t node = 0; node < 20; ++node) values.push_back({node, node + 1, 1024});
  EXPECT_EQ(PlanArena(values).arena_bytes, 2048u);
}

TEST(PlanArena, RandomValuesNeverOverlapAndWasteLittle) {
  for (uint32_t seed = 0; seed < 500; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    constexpr int32_t kNodes = 40;
    const std::vector<Lifetime> values = RandomLifetimes(random, kNodes);
    const ArenaPlan plan = PlanArena(values);
    ExpectSound(values, plan);
    EXPECT_LE(plan.arena_bytes, 2 * MostLiveBytes(values, kNodes));   // greedy by size stays far below; arXiv 2001.03288, table 1
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace intaglio::compiler
