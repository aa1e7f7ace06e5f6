#include "layers/shard.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace intaglio::layers {
namespace {

// Borders in query heads.
graph::Segments Heads(int64_t heads, int64_t kv_heads) { return HeadSegments(heads, kv_heads, /*head_dim=*/1); }

}  // namespace

TEST(PlainSegments, SharesUnitsOf16Evenly) {
  EXPECT_EQ(PlainSegments(128), (graph::Segments{0, 16, 32, 48, 64, 80, 96, 112, 128}));
  EXPECT_EQ(PlainSegments(640), (graph::Segments{0, 80, 160, 240, 320, 400, 480, 560, 640}));
}

TEST(PlainSegments, LeavesSegmentsEmptyWhenUnitsAreFew) {
  EXPECT_EQ(PlainSegments(64), (graph::Segments{0, 0, 16, 16, 32, 32, 48, 48, 64}));
  EXPECT_EQ(PlainSegments(1), (graph::Segments{0, 0, 0, 0, 0, 0, 0, 0, 1}));
}

TEST(PlainSegments, CutsTheLastUnitShort) { EXPECT_EQ(PlainSegments(136), (graph::Segments{0, 16, 32, 48, 64, 80, 96, 112, 136})); }

TEST(PlainSegments, AscendFrom0ToKOnUnits) {
  for (int64_t k = 1; k < 600; ++k) {
    const graph::Segments segments = PlainSegments(k);
    EXPECT_EQ(segments.front(), 0);
    EXPECT_EQ(segments.back(), k);
    EXPECT_TRUE(std::ranges::is_sorted(segments)) << k;
    for (size_t i = 0; i + 1 < segments.size(); ++i) EXPECT_EQ(segments[i] % 16, 0) << k;
  }
}

TEST(GqaStrategy, ReplicatesWhereKvHeadsAndRanksDivide) {
  for (int64_t kv_heads : {1, 2, 4, 8, 16, 24}) EXPECT_EQ(GqaStrategyFor(kv_heads), GqaStrategy::kReplicateToTpDegree) << kv_heads;
  for (int64_t kv_heads : {3, 5, 6, 7, 12, 20}) EXPECT_EQ(GqaStrategyFor(kv_heads), GqaStrategy::kConvertToMha) << kv_heads;
}

TEST(HeadSegments, OneKvHeadGoesToEveryRank) { EXPECT_EQ(Heads(4, 1), (graph::Segments{0, 1, 2, 3, 4, 4, 4, 4, 4})); }

TEST(HeadSegments, EachGroupIsPaddedAtItsEnd) {
  EXPECT_EQ(Heads(4, 2), (graph::Segments{0, 1, 2, 2, 2, 3, 4, 4, 4}));
  EXPECT_EQ(Heads(14, 2), (graph::Segments{0, 2, 4, 6, 7, 9, 11, 13, 14}));
  EXPECT_EQ(Heads(20, 4), (graph::Segments{0, 3, 5, 8, 10, 13, 15, 18, 20}));
}

TEST(HeadSegments, ConvertedHeadsArePaddedAtTheEnd) {
  EXPECT_EQ(Heads(6, 3), (graph::Segments{0, 1, 2, 3, 4, 5, 6, 6, 6}));
  EXPECT_EQ(Heads(9, 3), (graph::Segments{0, 2, 4, 6, 8, 9, 9, 9, 9}));
}

TEST(HeadSegments, AreEvenWhereKvHeadsAreAMultipleOfRanks) {
  EXPECT_EQ(Heads(32, 8), (graph::Segments{0, 4, 8, 12, 16, 20, 24, 28, 32}));
  EXPECT_EQ(Heads(48, 16), (graph::Segments{0, 6, 12, 18, 24, 30, 36, 42, 48}));
}

TEST(HeadSegments, AreWholeHeads) {
  graph::Segments expected = Heads(14, 2);
  for (int64_t& border : expected) border *= 24;
  EXPECT_EQ(HeadSegments(14, 2, 24), expected);
}

TEST(HeadSegments, CoverAllHeadsAndKeepARankWithinOneKvHeadWhenReplicating) {
  for (int64_t kv_heads = 1; kv_heads <= 24; ++kv_heads) {
    for (int64_t group = 1; group <= 9; ++group) {
      const graph::Segments borders = Heads(kv_heads * group, kv_heads);
      EXPECT_EQ(borders.front(), 0);
      EXPECT_EQ(borders.back(), kv_heads * group);
      EXPECT_TRUE(std::ranges::is_sorted(borders));
      if (8 % kv_heads != 0) continue;
      for (size_t rank = 0; rank < 8; ++rank) {
        if (borders[rank] == borders[rank + 1]) continue;
        EXPECT_EQ(borders[rank] / group, (borders[rank + 1] - 1) / group) << kv_heads << " KV heads, group " << group << ", rank " << rank;
        EXPECT_EQ(borders[rank] / group, static_cast<int64_t>(rank) / (8 / kv_heads));   // the KV head that gqa.py gives this rank
      }
    }
  }
}

TEST(KvHeadSegments, EachHeadIsWithTheFirstRankOfItsQueryHeads) {
  EXPECT_EQ(KvHeadSegments(8, 2, 16), (graph::Segments{0, 16, 16, 16, 16, 32, 32, 32, 32}));
  EXPECT_EQ(KvHeadSegments(16, 8, 4), (graph::Segments{0, 4, 8, 12, 16, 20, 24, 28, 32}));
  EXPECT_EQ(KvHeadSegments(6, 3, 16), (graph::Segments{0, 16, 16, 32, 32, 48, 48, 48, 48}));   // query heads 0 to 5 on ranks 0 to 5
  for (const auto& [heads, kv_heads] : {std::pair(4, 1), std::pair(12, 3), std::pair(40, 10), std::pair(7, 7)}) {
    EXPECT_EQ(KvHeadSegments(heads, kv_heads, 8).back(), kv_heads * 8);
  }
}

}  // namespace intaglio::layers
