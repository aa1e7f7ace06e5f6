#include "graph/rank_place.h"

#include <gtest/gtest.h>

#include <bit>

namespace intaglio::graph {

TEST(RankPlace, RanksShareOutAllSegmentsInOrder) {
  for (int degree = 1; degree <= RankPlace::kMaxRanks; ++degree) {
    int next = 0;
    for (int rank = 0; rank < degree; ++rank) {
      const RankPlace place{.rank = rank, .tp_degree = degree};
      EXPECT_EQ(place.first_segment(), next);
      EXPECT_GT(place.end_segment(), next);   // nobody has none
      next = place.end_segment();
    }
    EXPECT_EQ(next, 8) << degree;
  }
}

TEST(RankPlace, TwoFourAndEightRanksHaveSubtrees) {
  for (int degree : {1, 2, 4, 8}) {
    for (int rank = 0; rank < degree; ++rank) {
      const RankPlace place{.rank = rank, .tp_degree = degree};
      EXPECT_EQ(place.num_leaves(), place.end_segment() - place.first_segment());
      EXPECT_EQ(place.first_segment() % place.num_leaves(), 0);
    }
  }
}

TEST(RankPlace, OtherDegreesRoundTheirLeavesUp) {
  const auto leaves = [](int rank, int degree) { return RankPlace{.rank = rank, .tp_degree = degree}.num_leaves(); };
  EXPECT_EQ(leaves(0, 3), 2);   // segments 0 and 1
  EXPECT_EQ(leaves(1, 3), 4);   // 2, 3 and 4
  EXPECT_EQ(leaves(6, 7), 2);   // 6 and 7
  EXPECT_EQ(leaves(5, 7), 1);
}

TEST(RankPlace, ExpertsAreSharedOutFirstAndThenTheirInside) {
  const RankPlace place{.rank = 5, .tp_degree = 8, .ep_degree = 2};
  EXPECT_EQ(place.expert_tp(), 4);
  EXPECT_EQ(place.expert_index(), 1);
  EXPECT_EQ(place.expert_rank(), 1);
  EXPECT_EQ(place.first_expert_group(), 4);
  EXPECT_EQ(place.num_expert_groups(), 4);
  EXPECT_EQ(place.within_expert().first_segment(), 2);
  EXPECT_EQ(place.within_expert().end_segment(), 4);
}

TEST(RankPlace, OneRankHasAll) {
  const RankPlace place;
  EXPECT_TRUE(place.is_alone());
  EXPECT_EQ(place.end_segment(), 8);
  EXPECT_EQ(place.num_leaves(), 8);
  EXPECT_EQ(place.num_expert_groups(), 8);
  EXPECT_TRUE(place.within_expert() == place);
}

}  // namespace intaglio::graph
