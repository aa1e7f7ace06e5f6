// The ops by which ranks exchange what experts made: what each means to one rank, and what the verifier asks of them.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "graph/print.h"
#include "tests/graph/one_rank.h"

namespace intaglio::graph {
namespace {

// Of two ranks the second has rows 1 and 2 of three, and experts 2 and 3 of four: rows 2 and 1 of the expert order belong to them.
constexpr RankPlace kSecond{.rank = 1, .tp_degree = 2, .ep_degree = 2};
constexpr Segments kExperts{0, 2, 4, 4, 4, 4, 4, 4, 4};

ExpertAttrs OwnRows() { return {.num_experts = 4, .share = 1, .num_shares = 2}; }

ValueRef Exchange(const OneRank& rank, const Routed& routed, const ExchangeAttrs& attrs = {.experts = kExperts, .cols = 4}) {
  return ExpertExchange(rank.b(), {.y = routed.rows, .positions = routed.positions, .offsets = routed.offsets}, attrs);
}

ValueRef Combine(const OneRank& rank, const Routed& routed, ValueRef y, const ExpertAttrs& attrs = OwnRows()) {
  return rank.b().Emit(Op::kExpertCombine, {y, routed.positions, routed.ids}, attrs).front();
}

}  // namespace

TEST(ExpertExchange, BringsWhatOthersMadeOfTheRanksRows) {
  OneRank rank(3, 4, kChoices, kSecond);
  const Routed routed(rank);   // rows in expert order: 1 (of expert 0), 0 (of 2), 2 (of 3)
  const ValueRef y = Exchange(rank, routed);
  (void)RowGather(rank.b(), Combine(rank, routed, y));
  rank.exchange.all_gather = [](std::span<const float> own) {
    std::vector<float> all(12, 50);   // the first rank's, which has expert 0's row
    all.insert(all.end(), own.begin(), own.end());
    return all;
  };
  const std::vector<float> values = rank.ValueOf(y);
  EXPECT_EQ(std::vector<float>(values.begin(), values.begin() + 4), (std::vector<float>{50, 50, 50, 50}));
  EXPECT_TRUE(std::isnan(values[4]));   // row 0 is the first rank's
  EXPECT_EQ(std::vector<float>(values.begin() + 8, values.end()), (std::vector<float>{0, 0, 3, 7}));
}

TEST(ExpertExchange, ARankWithoutExpertsReceivesAllTheSame) {
  OneRank rank(3, 4, kChoices, kSecond);
  const Routed routed(rank);
  const ExchangeAttrs attrs{.experts = {0, 4, 4, 4, 4, 4, 4, 4, 4}, .cols = 2};
  const ValueRef y = ExpertExchange(rank.b(), {.y = {}, .positions = routed.positions, .offsets = routed.offsets}, attrs);
  (void)RowGather(rank.b(), Combine(rank, routed, y));
  rank.exchange.all_gather = [](std::span<const float> own) {
    return own.empty() ? std::vector<float>{1, 2, 3, 4, 5, 6} : std::vector<float>(own.size());
  };
  const std::vector<float> values = rank.ValueOf(y);
  EXPECT_EQ(values[0], 1);
  EXPECT_TRUE(std::isnan(values[2]));
  EXPECT_EQ(values[5], 6);
}

TEST(ExpertExchange, EachRankAddsItsOwnRows) {
  OneRank rank(3, 4, kChoices, kSecond);
  const Routed routed(rank);
  const ValueRef sum = Combine(rank, routed, Exchange(rank, routed)), all = RowGather(rank.b(), sum);
  rank.exchange.all_gather = [](std::span<const float> own) {
    std::vector<float> whole(own.size() == 12 ? 12 : 4, 50);
    whole.insert(whole.end(), own.begin(), own.end());
    return whole;
  };
  const std::vector<float> own = rank.ValueOf(sum);
  EXPECT_TRUE(std::isnan(own[3]));
  EXPECT_EQ(std::vector<float>(own.begin() + 4, own.end()), (std::vector<float>{50, 50, 50, 50, 0, 0, 3, 7}));
  EXPECT_EQ(rank.ValueOf(all), (std::vector<float>{50, 50, 50, 50, 50, 50, 50, 50, 0, 0, 3, 7}));
}

TEST(ExpertExchangeVerify, PartsGoToWhatMakesThemWhole) {
  const auto fault = [](const std::function<void(OneRank&, const Routed&)>& make) {
    OneRank rank(3, 4, kChoices, kSecond);
    const Routed routed(rank);
    make(rank, routed);
    return rank.FaultOfGraph();
  };
  EXPECT_EQ(fault([](OneRank& rank, const Routed& routed) { (void)RowGather(rank.b(), Combine(rank, routed, Exchange(rank, routed))); }), "");
  EXPECT_TRUE(Says(fault([](OneRank& rank, const Routed& routed) { (void)Silu(rank.b(), Exchange(rank, routed)); }),
                   "which is a part of the experts' results, expected whole"));
  EXPECT_TRUE(Says(fault([](OneRank& rank, const Routed& routed) { (void)Combine(rank, routed, Exchange(rank, routed), {.num_experts = 4}); }),
                   "which is a part of the experts' results, expected whole"));
  EXPECT_TRUE(Says(fault([](OneRank& rank, const Routed& routed) { (void)Combine(rank, routed, routed.rows); }),
                   "which is whole, expected a part of the experts' results"));
  EXPECT_TRUE(Says(fault([](OneRank& rank, const Routed& routed) { (void)AllReduce(rank.b(), Combine(rank, routed, Exchange(rank, routed))); }),
                   "which is a part of the rows, expected a part of a sum"));
  EXPECT_TRUE(Says(fault([](OneRank& rank, const Routed&) { (void)RowGather(rank.b(), rank.x); }), "which is whole, expected a part of the rows"));
}

TEST(ExpertExchangeInfer, RefusesExpertsThatAreNotTheRanks) {
  OneRank rank(3, 4, kChoices, kSecond);
  const Routed routed(rank);
  const auto fault = [&](const ExchangeAttrs& attrs) { return FaultOf([&] { (void)Exchange(rank, routed, attrs); }); };
  EXPECT_EQ(fault({.experts = kExperts, .cols = 4}), "");
  EXPECT_TRUE(Says(fault({.experts = {0, 2, 3, 4, 4, 4, 4, 4, 4}, .cols = 4}), "the 2 ranks have 3 of 4 experts"));
  EXPECT_TRUE(Says(fault({.experts = {0, 4, 4, 4, 4, 4, 4, 4, 4}, .cols = 4}), "has 3 operands for 0 experts"));
  EXPECT_TRUE(Says(fault({.experts = {0, 3, 2, 4, 4, 4, 4, 4, 4}, .cols = 4}), "segment 1 runs from 3 back to 2"));
  EXPECT_TRUE(Says(fault({.experts = kExperts, .cols = 3}), "y has shape [3, 4], expected [3, 3]"));
  EXPECT_TRUE(Says(fault({.experts = {0, 2, 5, 5, 5, 5, 5, 5, 5}, .cols = 4}), "offsets has shape [1, 5], expected [1, 6]"));
  EXPECT_TRUE(Says(fault({}), "exchanges 0 columns of 0 experts"));
}

TEST(ExpertExchangeInfer, RefusesSharesThatAreNotTheRanks) {
  OneRank rank(3, 4, kChoices, kSecond);
  const Routed routed(rank);
  const auto fault = [&](const ExpertAttrs& attrs) { return FaultOf([&] { (void)Combine(rank, routed, routed.rows, attrs); }); };
  EXPECT_EQ(fault(OwnRows()), "");
  EXPECT_TRUE(Says(fault({.num_experts = 4, .share = 0, .num_shares = 2}), "makes the rows of share 0 of 2"));
  EXPECT_TRUE(Says(fault({.num_experts = 4, .share = 1, .num_shares = 4}), "which is not what rank 1 of 2 has"));
  EXPECT_TRUE(Says(fault({.num_experts = 4, .share = 1, .num_shares = 1}), "makes the rows of share 1 of 1"));
  EXPECT_TRUE(Says(fault({.num_experts = 4, .num_groups = 4, .share = 1, .num_shares = 2}), "from 4 groups"));
}

TEST(ExpertExchangeInfer, IsNotForOneRank) {
  Graph graph = EmptyGraph();
  const Builder b(graph);
  const ValueRef x = Embedding(b, b.Weight("table", {5, 8}, Shard::kVocab, Layout::kMatmul), 1);
  EXPECT_TRUE(Says(FaultOf([&] { (void)RowGather(b, x); }), "in a graph of one rank"));
  EXPECT_TRUE(Says(FaultOf([&] { (void)ExpertExchange(b, {.y = x, .positions = x, .offsets = x}, {.experts = kExperts, .cols = 8}); }),
                   "in a graph of one rank"));
}

TEST(ExpertExchangePrint, SaysWhoseExpertsAndRows) {
  OneRank rank(3, 4, kChoices, kSecond);
  const Routed routed(rank);
  (void)RowGather(rank.b(), Combine(rank, routed, Exchange(rank, routed)));
  const std::string text = Print(rank.graph);
  for (std::string_view line :
       {"= expert_exchange %9, %10, %11 {experts 0 2 4 4 4 4 4 4 4}", "{experts 4, rows of share 1 of 2}", "= row_gather %13 "})
    EXPECT_TRUE(Says(text, line));
}

}  // namespace intaglio::graph
