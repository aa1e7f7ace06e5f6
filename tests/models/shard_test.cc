#include "layers/shard.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "intaglio/error.h"

namespace intaglio::layers {
namespace {

using graph::RankPlace;

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

// All places of ranks at a TP degree, and at the EP degree it has by default.
std::vector<RankPlace> PlacesAt(int tp_degree) {
  std::vector<RankPlace> places;
  for (int rank = 0; rank < tp_degree; ++rank) places.push_back({.rank = rank, .tp_degree = tp_degree, .ep_degree = DefaultEpDegree(tp_degree)});
  return places;
}

TEST(Own, RanksShareOutEverythingInOrder) {
  for (int64_t k : {16, 24, 112, 136, 1024}) {
    for (int tp_degree = 1; tp_degree <= 8; ++tp_degree) {
      int64_t border = 0;
      for (const RankPlace& place : PlacesAt(tp_degree)) {
        const Range own = Own(PlainSegments(k), place);
        EXPECT_EQ(own.begin, border);
        border = own.end;
      }
      EXPECT_EQ(border, k) << tp_degree;
    }
  }
}

TEST(SumOf, CountsTheRanksSegmentsFromItsFirstColumn) {
  const graph::Segments whole = PlainSegments(136);   // 0 16 32 48 64 80 96 112 136
  const OwnSum second = SumOf(whole, {.rank = 1, .tp_degree = 2});
  EXPECT_EQ(second.segments, (graph::Segments{0, 16, 32, 48, 72, 72, 72, 72, 72}));
  EXPECT_EQ(second.leaves, 4);
  const OwnSum third = SumOf(whole, {.rank = 2, .tp_degree = 3});   // three segments, and an empty fourth
  EXPECT_EQ(third.segments, (graph::Segments{0, 16, 32, 56, 56, 56, 56, 56, 56}));
  EXPECT_EQ(third.leaves, 4);
  const OwnSum alone = SumOf(whole, {});
  EXPECT_EQ(alone.segments, whole);
  EXPECT_EQ(alone.leaves, 8);
}

TEST(HeadsOf, EveryQueryHeadIsOnOneRankAndReadsItsKvHead) {
  for (int64_t kv_heads = 1; kv_heads <= 24; ++kv_heads) {
    for (int64_t group = 1; group <= 9; ++group) {
      for (int tp_degree = 1; tp_degree <= 8; ++tp_degree) {
        SCOPED_TRACE(testing::Message() << kv_heads << " KV heads of " << group << " at TP " << tp_degree);
        int64_t next = 0;
        for (const RankPlace& place : PlacesAt(tp_degree)) {
          const OwnHeads own = HeadsOf(kv_heads * group, kv_heads, place);
          ASSERT_EQ(own.query.begin, next);
          next = own.query.end;
          if (place.rank == 0) { ASSERT_FALSE(own.query.is_empty()); }
          ASSERT_EQ(own.kv.empty(), own.query.is_empty());
          if (own.kv.empty()) continue;
          ASSERT_EQ(own.query.size() % std::ssize(own.kv), 0);
          const int64_t served = own.query.size() / std::ssize(own.kv);
          for (int64_t i = 0; i < own.query.size(); ++i) ASSERT_EQ(own.kv[static_cast<size_t>(i / served)], (own.query.begin + i) / group);
        }
        ASSERT_EQ(next, kv_heads * group);
      }
    }
  }
}

TEST(HeadsOf, EveryKvHeadIsCountedByARankThatHasIt) {
  for (const auto& [heads, kv_heads] : {std::pair(4, 1), std::pair(6, 3), std::pair(9, 3), std::pair(40, 10), std::pair(32, 8), std::pair(7, 7)}) {
    for (int tp_degree = 1; tp_degree <= 8; ++tp_degree) {
      int64_t border = 0;
      for (const RankPlace& place : PlacesAt(tp_degree)) {
        const Range counted = Own(KvHeadSegments(heads, kv_heads, /*head_dim=*/1), place);
        EXPECT_EQ(counted.begin, border);
        border = counted.end;
        const std::vector<int64_t> kv = HeadsOf(heads, kv_heads, place).kv;
        for (int64_t head = counted.begin; head < counted.end; ++head) EXPECT_TRUE(std::ranges::binary_search(kv, head)) << heads << ' ' << tp_degree;
      }
      EXPECT_EQ(border, kv_heads);
    }
  }
}

TEST(HeadsOf, ARankMayHaveNone) {   // llama-heads-not-divisible-tiny: six query heads on three KV heads
  EXPECT_EQ(HeadsOf(6, 3, {.rank = 0, .tp_degree = 2}).kv, (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(HeadsOf(6, 3, {.rank = 1, .tp_degree = 2}).query, (Range{4, 6}));
  EXPECT_EQ(HeadsOf(6, 3, {.rank = 2, .tp_degree = 4}).kv, std::vector<int64_t>{2});
  EXPECT_TRUE(HeadsOf(6, 3, {.rank = 3, .tp_degree = 4}).query.is_empty());
  EXPECT_EQ(HeadsOf(6, 3, {.rank = 5, .tp_degree = 8}).kv, std::vector<int64_t>{2});
  EXPECT_TRUE(HeadsOf(6, 3, {.rank = 6, .tp_degree = 8}).query.is_empty());
}

TEST(HeadsOf, QueryHeadsHaveCopiesWhereKvHeadsServeDifferentlyMany) {
  const OwnHeads own = HeadsOf(6, 3, {.rank = 1, .tp_degree = 3});   // query heads 2, 3 and 4
  EXPECT_EQ(own.kv, (std::vector<int64_t>{1, 1, 2}));
  EXPECT_EQ(own.KvRows(16, 100), (std::vector<Range>{{116, 132}, {116, 148}}));
  EXPECT_EQ(own.QueryRows(16), (std::vector<Range>{{32, 80}}));
}

TEST(OwnExperts, RanksHaveWholeGroups) {
  EXPECT_EQ(OwnExperts(6, {.rank = 1, .tp_degree = 4, .ep_degree = 4}), (Range{1, 3}));    // groups 2 and 3
  EXPECT_EQ(OwnExperts(6, {.rank = 3, .tp_degree = 4, .ep_degree = 2}), (Range{3, 6}));    // half of the inside of each
  EXPECT_EQ(OwnExperts(6, {.rank = 2, .tp_degree = 3, .ep_degree = 1}), (Range{0, 6}));
  EXPECT_TRUE(OwnExperts(4, {.rank = 0, .tp_degree = 8, .ep_degree = 8}).is_empty());
}

TEST(Joined, NeighboursBecomeOneAndEmptyRangesNone) {
  EXPECT_EQ(Joined(std::vector<Range>{{0, 4}, {4, 4}, {4, 8}, {6, 9}, {10, 12}, {12, 13}}), (std::vector<Range>{{0, 8}, {6, 9}, {10, 13}}));
}

TEST(Degrees, ExpertsAreSharedOutAsFarAsEightSegmentsGo) {
  const int expected[] = {1, 2, 1, 4, 1, 2, 1, 8};
  for (int tp_degree = 1; tp_degree <= 8; ++tp_degree) EXPECT_EQ(DefaultEpDegree(tp_degree), expected[tp_degree - 1]);
}

TEST(Degrees, OthersAreRefusedWithBothNumbers) {
  for (const auto& [tp_degree, ep_degree] : {std::pair(9, 1), std::pair(0, 1), std::pair(4, 8), std::pair(6, 3), std::pair(4, 0)}) {
    try {
      CheckDegrees(tp_degree, ep_degree);
      ADD_FAILURE() << tp_degree << ", " << ep_degree;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_NE(std::string_view(error.what()).find(std::to_string(tp_degree)), std::string_view::npos) << error.what();
      EXPECT_NE(std::string_view(error.what()).find(std::to_string(ep_degree)), std::string_view::npos) << error.what();
    }
  }
  for (const auto& [tp_degree, ep_degree] : {std::pair(1, 1), std::pair(6, 2), std::pair(8, 4), std::pair(7, 1)}) CheckDegrees(tp_degree, ep_degree);
}

}  // namespace intaglio::layers
