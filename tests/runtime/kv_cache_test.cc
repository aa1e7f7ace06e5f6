#include "runtime/kv_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "intaglio/error.h"
#include "kernels/kernel.h"

namespace intaglio::runtime {
namespace {

using kernels::kKvTile;

constexpr int32_t kSlots = 3, kContext = 1000, kMaxRows = 70, kWindow = 100;
constexpr int64_t kContextBlocks = (kContext + kKvTile - 1) / kKvTile;
// Window and step together are 169 tokens, which touch at most 4 blocks.
const std::vector<bundle::KvGroup> kGroups{{.window = 0, .blocks_per_slot = kContextBlocks}, {.window = kWindow, .blocks_per_slot = 4}};

int32_t Block(const KvCacheManager& kv, int32_t group, int32_t slot, int64_t position) {
  return kv.block_tables()[group][slot * kv.max_blocks()[group] + position / kKvTile];
}

TEST(KvCacheManager, GivesEverySlotOnceThenNone) {
  KvCacheManager kv(kSlots, kContext, kMaxRows, kGroups);
  std::set<int32_t> slots;
  for (int i = 0; i < kSlots; ++i) slots.insert(kv.Acquire().value());
  EXPECT_EQ(slots.size(), static_cast<size_t>(kSlots));
  EXPECT_FALSE(kv.Acquire().has_value());
  kv.Release(1);
  EXPECT_EQ(kv.Acquire(), 1);
}

TEST(KvCacheManager, SlidingWindowsGiveBackBlocksThatNoTokenToComeCanSee) {
  KvCacheManager kv(kSlots, kContext, kMaxRows, kGroups);
  const int32_t slot = kv.Acquire().value();
  for (int i = 0; i < 10; ++i) kv.Append(slot, 64);
  EXPECT_EQ(kv.length(slot), 640);
  EXPECT_GE(Block(kv, 0, slot, 0), 0);
  // The last step began at 576: its first query sees 477 and on, which lies in block 7.
  EXPECT_EQ(Block(kv, 1, slot, 6 * 64), -1);
  EXPECT_GE(Block(kv, 1, slot, 7 * 64), 0);
}

TEST(KvCacheManager, TheLastStepCanAlwaysBeDropped) {
  KvCacheManager kv(kSlots, kContext, kMaxRows, kGroups);
  const int32_t slot = kv.Acquire().value();
  for (int32_t length = 0; length + kMaxRows <= kContext; length += kMaxRows) {
    kv.Append(slot, kMaxRows);
    EXPECT_LE(kv.shortest_truncation(slot), std::max(length, 1));
  }
}

TEST(KvCacheManager, AGroupTooSmallForItsWindowIsRefused) {
  const std::vector<bundle::KvGroup> groups{{.window = kWindow, .blocks_per_slot = 3}};
  EXPECT_THROW(KvCacheManager(kSlots, kContext, kMaxRows, groups), Error);
}

// As many entries as a step of 3 proposals needs: it appends 4 tokens, and may lose any of them.
TEST(KvCacheManager, RecurrentStateIsKeptForEveryLengthOfAStepOfSpeculation) {
  KvCacheManager kv(kSlots, kContext, kMaxRows, kGroups, /*state_entries=*/5);
  const int32_t slot = kv.Acquire().value();
  kv.Append(slot, 20);
  for (int32_t length = 20; length < 40; ++length) {
    kv.Append(slot, 4);
    EXPECT_EQ(kv.shortest_truncation(slot), length);
    kv.Truncate(slot, length + 1);
    EXPECT_FALSE(kv.has_lost_state(slot));
  }
}

TEST(KvCacheManager, RecurrentStateIsLostWithinALongStepAndIsNeverAtItsStart) {
  KvCacheManager kv(kSlots, kContext, kMaxRows, kGroups, /*state_entries=*/2);
  const int32_t slot = kv.Acquire().value();
  kv.Append(slot, 10);
  kv.Append(slot, 30);
  EXPECT_EQ(kv.shortest_truncation(slot), 10);
  kv.Truncate(slot, 39);
  EXPECT_FALSE(kv.has_lost_state(slot));
  kv.Truncate(slot, 38);
  EXPECT_TRUE(kv.has_lost_state(slot));
  kv.Truncate(slot, 0);
  EXPECT_FALSE(kv.has_lost_state(slot));
  kv.Append(slot, 1);
  EXPECT_FALSE(kv.has_lost_state(slot));
}

TEST(KvCacheManager, WithoutRecurrentStateNoneIsLost) {
  KvCacheManager kv(kSlots, kContext, kMaxRows, kGroups);
  const int32_t slot = kv.Acquire().value();
  kv.Append(slot, 30);
  EXPECT_EQ(kv.shortest_truncation(slot), 1);
  kv.Truncate(slot, 3);
  EXPECT_FALSE(kv.has_lost_state(slot));
}

// What the attention kernels rely on: every position that the last step or a later one can see has a block.
void ExpectReachable(const KvCacheManager& kv, int32_t slot, int32_t begin_of_last_step) {
  const int32_t length = kv.length(slot), first_visible = std::max(0, std::min(begin_of_last_step, length) - kWindow + 1);
  for (int32_t position = 0; position < length; ++position)
    EXPECT_GE(Block(kv, 0, slot, position), 0) << "slot " << slot << ", position " << position;
  for (int32_t position = first_visible; position < length; ++position)
    EXPECT_GE(Block(kv, 1, slot, position), 0) << "slot " << slot << ", position " << position;
}

// No block is in two places, none is lost.
void ExpectEveryBlockOnce(const KvCacheManager& kv, int32_t group) {
  const int64_t pool = kSlots * kGroups[static_cast<size_t>(group)].blocks_per_slot;
  std::set<int32_t> used;
  int64_t num_used = 0;
  for (int32_t i = 0; i < kSlots * kv.max_blocks()[group]; ++i) {
    const int32_t block = kv.block_tables()[group][i];
    if (block < 0) continue;
    EXPECT_LT(block, pool);
    used.insert(block);
    ++num_used;
  }
  EXPECT_EQ(std::ssize(used), num_used) << "group " << group;
  EXPECT_EQ(num_used + kv.num_free_blocks(group), pool) << "group " << group;
}

TEST(KvCacheManager, RandomUseNeitherLeaksNorSharesBlocks) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const auto pick = [&](int32_t low, int32_t high) { return std::uniform_int_distribution<int32_t>(low, high)(random); };
  KvCacheManager kv(kSlots, kContext, kMaxRows, kGroups);
  std::map<int32_t, int32_t> begin_of_last_step;  // per acquired slot; after a truncation the new length
  for (int i = 0; i < 3000 && !testing::Test::HasFailure(); ++i) {
    const int32_t slot = pick(0, kSlots - 1);
    if (!begin_of_last_step.contains(slot)) {
      if (const auto acquired = kv.Acquire()) begin_of_last_step[*acquired] = 0;
    } else if (const int32_t length = kv.length(slot); pick(0, 9) == 0) {
      kv.Release(slot);
      begin_of_last_step.erase(slot);
    } else if (pick(0, 3) == 0) {
      const int32_t shorter = pick(0, 4) == 0 ? 0 : pick(kv.shortest_truncation(slot), length);
      kv.Truncate(slot, shorter);
      begin_of_last_step[slot] = shorter;
    } else if (length < kContext) {
      begin_of_last_step[slot] = length;
      kv.Append(slot, pick(1, std::min(kMaxRows, kContext - length)));
    }
    for (const auto& [used, begin] : begin_of_last_step) ExpectReachable(kv, used, begin);
    for (int32_t group : {0, 1}) ExpectEveryBlockOnce(kv, group);
  }
  for (const auto& [slot, begin] : begin_of_last_step) kv.Release(slot);
  EXPECT_EQ(kv.num_free_blocks(0), kSlots * kContextBlocks);
  EXPECT_EQ(kv.num_free_blocks(1), kSlots * 4);
}

}  // namespace
}  // namespace intaglio::runtime
