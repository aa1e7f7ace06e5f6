// Which way the results of experts take to their rows.
#include <gtest/gtest.h>

#include "layers/expert_dispatch.h"

namespace intaglio::layers {
namespace {

using graph::ExpertDispatch;

constexpr graph::RankPlace kEight{.rank = 3, .tp_degree = 8, .ep_degree = 8};

bool IsChosen(const ExpertTraffic& traffic, const graph::RankPlace& place) { return UsesExchange(ExpertDispatch::kAuto, traffic, place); }

}  // namespace

TEST(ExpertDispatch, SavesWhatAReductionBringsMore) {
  // Of 800 floats, a reduction brings a rank of four 2 x 600; an exchange 800 x 2 / 4 x 3 / 4 results and 600 of finished rows.
  EXPECT_EQ(BytesSavedByExchange({.rows = 8, .top_k = 2, .hidden_size = 100}, 4), 4 * (1200 - 300 - 600));
  EXPECT_EQ(BytesSavedByExchange({.rows = 8, .top_k = 4, .hidden_size = 100}, 4), 0);
  EXPECT_LT(BytesSavedByExchange({.rows = 8, .top_k = 8, .hidden_size = 100}, 4), 0);
}

TEST(ExpertDispatch, ExchangesWhereThatSavesMoreThanAMeetingCosts) {
  EXPECT_TRUE(IsChosen({.rows = 256, .top_k = 2, .hidden_size = 2048}, kEight));
  EXPECT_FALSE(IsChosen({.rows = 1, .top_k = 2, .hidden_size = 4096}, kEight));       // 10.5 KiB
  EXPECT_FALSE(IsChosen({.rows = 256, .top_k = 8, .hidden_size = 2048}, kEight));     // k = N
  // 64 KiB are not more than 64 KiB: R x H x 4 bytes x 2 / 4 x 3 / 4.
  const graph::RankPlace four{.rank = 0, .tp_degree = 4, .ep_degree = 4};
  EXPECT_EQ(BytesSavedByExchange({.rows = 128, .top_k = 1, .hidden_size = 512}, 2), kMeetingBytes);
  EXPECT_FALSE(IsChosen({.rows = 128, .top_k = 1, .hidden_size = 512}, {.rank = 1, .tp_degree = 2, .ep_degree = 2}));
  EXPECT_TRUE(IsChosen({.rows = 128, .top_k = 1, .hidden_size = 512}, four));
}

TEST(ExpertDispatch, IsTheSameOnAllRanks) {
  graph::RankPlace place = kEight;
  for (place.rank = 0; place.rank < 8; ++place.rank) EXPECT_TRUE(IsChosen({.rows = 256, .top_k = 2, .hidden_size = 2048}, place));
}

TEST(ExpertDispatch, AChoiceCountsWhereAnExchangeIsPossible) {
  const ExpertTraffic one{.rows = 1, .top_k = 2, .hidden_size = 64}, many{.rows = 256, .top_k = 2, .hidden_size = 4096};
  EXPECT_TRUE(UsesExchange(ExpertDispatch::kExchange, one, kEight));
  EXPECT_FALSE(UsesExchange(ExpertDispatch::kReduce, many, kEight));
  EXPECT_FALSE(UsesExchange(ExpertDispatch::kExchange, many, {.rank = 0, .tp_degree = 8, .ep_degree = 4}));   // an expert is in two parts
  EXPECT_FALSE(UsesExchange(ExpertDispatch::kExchange, many, {}));
}

}  // namespace intaglio::layers
