// The ops of ranks that share a model: what the verifier asks of them, and what each means to one rank.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <stdexcept>

#include "graph/builder.h"
#include "graph/interpreter.h"
#include "graph/print.h"
#include "graph/verify.h"
#include "intaglio/error.h"
#include "tests/graph/one_rank.h"
#include "tests/graph/small_graph.h"

namespace intaglio::graph {

TEST(Ranks, AllReduceIsWhatTheExchangeMakesOfIt) {
  OneRank rank(2, 2, {1, 2, 3, 4});
  rank.exchange.all_reduce = [](std::span<float> values) {
    for (float& value : values) value += 10;
  };
  EXPECT_EQ(rank.ValueOf(rank.x), (std::vector<float>{11, 12, 13, 14}));
}

TEST(Ranks, AllGatherPutsColumnsSideBySide) {
  OneRank rank(2, 2, {1, 2, 3, 4});
  const ValueRef all = AllGather(rank.b(), rank.x, {0, 1, 3, 3, 4, 4, 4, 4, 4});
  rank.exchange.all_gather = [](std::span<const float> own) { return std::vector<float>{7, own[0], own[1], 9}; };
  EXPECT_EQ(rank.ValueOf(all), (std::vector<float>{7, 1, 2, 9, 7, 3, 4, 9}));
}

TEST(Ranks, ARankWithoutColumnsTakesPartInAllGather) {
  OneRank rank(2, 2, {1, 2, 3, 4});
  const ValueRef all = AllGather(rank.b(), {}, {0, 1, 1, 1, 2, 2, 2, 2, 2});
  rank.exchange.all_gather = [](std::span<const float> own) { return own.empty() ? std::vector<float>{5, 6} : std::vector<float>{}; };
  EXPECT_EQ(rank.ValueOf(all), (std::vector<float>{5, 6, 5, 6}));
}

TEST(Ranks, AddBiasAddsToEveryRow) {
  OneRank rank(2, 2, {1, 2, 3, 4});
  const ValueRef y = AddBias(rank.b(), rank.x, rank.Weight("bias", {2}, Layout::kVector, {0.5f, -1}));
  EXPECT_EQ(rank.ValueOf(y), (std::vector<float>{1.5f, 1, 3.5f, 3}));
}

TEST(Ranks, ZerosArePositive) {
  OneRank rank(2, 2, {1, 2, 3, 4});
  const ValueRef zeros = Zeros(rank.b(), 3, 2);
  (void)AllReduce(rank.b(), zeros);
  EXPECT_EQ(zeros.shape(), (Shape{4, 3}));
  EXPECT_TRUE(IsSameBits(rank.ValueOf(zeros), std::vector<float>(12, 0.0f)));
}

TEST(Ranks, TokensOfOtherRanksAreTheIdentityOfAddition) {
  OneRank rank(3, 2, {1, 2, 3, 4, 5, 6});
  const ValueRef table = rank.Weight("own", {1, 2}, Layout::kMatmul, {-0.0f, 7});
  const ValueRef embedded = Embedding(rank.b(), table, 2, /*first_id=*/1);   // of tokens 0, 1, 2
  (void)AllReduce(rank.b(), embedded);
  EXPECT_TRUE(IsSameBits(rank.ValueOf(embedded), {-0.0f, -0.0f, -0.0f, 14, -0.0f, -0.0f}));
}

TEST(Ranks, SquareSumLeavesColumnsToOthers) {
  OneRank rank(2, 4, {9, 2, 3, 9, 9, -4, 0.5f, 9});
  const ValueRef sums = SquareSum(rank.b(), rank.x, {.segments = {1, 2, 3, 3, 3, 3, 3, 3, 3}, .leaves = 2});
  (void)AllReduce(rank.b(), sums);
  EXPECT_EQ(rank.ValueOf(sums), (std::vector<float>{13, 16.25f}));
}

TEST(Ranks, NormByDividesByTheRootOfAllRanksMean) {
  OneRank rank(2, 2, {1, 2, 3, 4});
  const ValueRef sums = AllReduce(rank.b(), SquareSum(rank.b(), rank.x, {.segments = Whole(2), .leaves = 1}));
  const ValueRef y = NormBy(rank.b(), rank.x, sums, rank.Weight("w", {2}, Layout::kVector, {1, 10}), {.eps = 0.5f, .width = 4});
  rank.exchange.all_reduce = [](std::span<float> values) {
    if (values.size() == 2) values[0] = 14, values[1] = 2;   // the sums: means of 3.5 and 0.5
  };
  EXPECT_EQ(rank.ValueOf(y), (std::vector<float>{0.5f, 10, 3, 40}));
}

TEST(Ranks, NormByMayServeCopiesOfColumns) {
  OneRank rank(1, 2, {3, 3});   // one column of the width, twice
  const ValueRef sums = AllReduce(rank.b(), SquareSum(rank.b(), rank.x, {.segments = Whole(1), .leaves = 1}));
  const ValueRef y = NormBy(rank.b(), rank.x, sums, rank.Weight("w", {2}, Layout::kVector, {1, 1}), {.eps = 7, .width = 1});
  EXPECT_EQ(rank.ValueOf(y), (std::vector<float>{0.75f, 0.75f}));
}

TEST(Ranks, ExpertMatMulComputesOwnExpertsOnly) {
  OneRank rank(3, 4, kChoices);
  const Routed routed(rank);
  const ValueRef weight = rank.Weight("experts", {2, 1, 4}, Layout::kExperts, {1, 1, 1, 1, 0, 0, 1, 0});   // of experts 2 and 3
  const ExpertAttrs attrs{.num_experts = 4, .segments = Whole(4), .first_expert = 2, .own_experts = 2};
  const std::vector<float> y = rank.ValueOf(rank.b().Emit(Op::kExpertMatMul, {routed.rows, weight, routed.offsets}, attrs).front());
  EXPECT_TRUE(std::isnan(y[0]));   // expert 0's
  EXPECT_EQ(y[1], 10);
  EXPECT_EQ(y[2], 3);
}

TEST(Ranks, ExpertCombineAddsItsGroupsOnly) {
  OneRank rank(3, 4, kChoices);
  const Routed routed(rank);
  const ExpertAttrs attrs{.num_experts = 4, .first_group = 4, .num_groups = 4};   // experts 2 and 3
  const ValueRef y = rank.b().Emit(Op::kExpertCombine, {routed.rows, routed.positions, routed.ids}, attrs).front();
  (void)AllReduce(rank.b(), y);
  EXPECT_EQ(rank.ValueOf(y), (std::vector<float>{0, 1, 9, 0, 0, 0, 0, 0, 0, 0, 3, 7}));
}

TEST(Ranks, ExpertIsolateLeavesOtherExpertsTheIdentity) {
  OneRank rank(3, 4, kChoices);
  const Routed routed(rank);
  const ExpertAttrs attrs{.num_experts = 4, .first_expert = 1, .own_experts = 2};
  const ValueRef whole = rank.Weight("experts", {4, 1, 4}, Layout::kExperts, std::vector<float>(16, 1));
  const ExpertAttrs tp{.num_experts = 4, .segments = Whole(4), .leaves = 2};
  const ValueRef y = rank.b().Emit(Op::kExpertMatMul, {routed.rows, whole, routed.offsets}, tp).front();
  const ValueRef isolated = ExpertIsolate(rank.b(), y, routed.offsets, attrs);
  (void)AllReduce(rank.b(), isolated);
  EXPECT_TRUE(IsSameBits(rank.ValueOf(isolated), {-0.0f, 10, -0.0f}));   // experts 0, 2, 3
}

TEST(Ranks, ExpertBiasIsEachRowsExperts) {
  OneRank rank(3, 4, kChoices);
  const Routed routed(rank);
  const ValueRef bias = rank.Weight("bias", {4, 4}, Layout::kTable, {1, 1, 1, 1, 0, 0, 0, 0, 20, 20, 20, 20, 300, 0, 0, 0});
  const ValueRef y = ExpertBias(rank.b(), routed.rows, routed.offsets, bias);
  EXPECT_EQ(rank.ValueOf(y), (std::vector<float>{9, 1, 3, 1, 20, 21, 29, 20, 300, 0, 3, 7}));
}

TEST(Ranks, SampleLooksAtTheWholeVocabulary) {
  OneRank rank(2, 2, {1, 5, 8, 4});
  const Sampled sampled = Sample(rank.b(), GatherRows(rank.b(), rank.x), /*vocab=*/5);
  rank.exchange.all_gather = [](std::span<const float> own) { return std::vector<float>{2, own[0], own[1], 5, 6}; };
  EXPECT_EQ(rank.Run()[static_cast<size_t>(sampled.ids.id)].i32, (std::vector<int32_t>{4, 1}));
}

TEST(Ranks, OneOfSeveralCannotRunAlone) {
  OneRank rank(1, 1, {1});
  rank.exchange = {};
  EXPECT_THROW(rank.Run(), std::logic_error);
}

TEST(Ranks, ANegativeTokenIsNobodys) {
  OneRank rank(2, 1, {1});
  EXPECT_NO_THROW(rank.Run({0, 1}));   // token 1 is another rank's
  EXPECT_THROW(rank.Run({0, -1}), Error);
}

TEST(RanksVerify, PlacesMakeSense) {
  const auto fault = [](RankPlace place) {
    OneRank rank(1, 1, {1});
    rank.Finish();
    rank.graph.place = place;
    return FaultOf([&] { Verify(rank.graph, "test"); });
  };
  EXPECT_EQ(fault(kPlace), "");
  EXPECT_TRUE(Says(fault({.rank = 4, .tp_degree = 4}), "it is of rank 4 of 4"));
  EXPECT_TRUE(Says(fault({.rank = 0, .tp_degree = 9}), "of rank 0 of 9"));
  EXPECT_TRUE(Says(fault({.rank = 0, .tp_degree = 4, .ep_degree = 3}), "experts are shared out over 3 of 4 ranks"));
  EXPECT_TRUE(Says(fault({.rank = 0, .tp_degree = 3, .ep_degree = 3}), "experts are shared out over 3 of 3 ranks"));   // 3 does not divide 8
  EXPECT_TRUE(Says(fault({}), "all_reduce in the graph: in a graph of one rank"));
}

TEST(RanksVerify, PartsOfSumsGoToAllReduceAlone) {
  OneRank read(2, 2, {1, 2, 3, 4});
  (void)Silu(read.b(), read.part);
  EXPECT_TRUE(Says(read.FaultOfGraph(), "silu reads %5, which is a part of a sum, expected whole"));
  OneRank probed(2, 2, {1, 2, 3, 4});
  probed.b().Probe("embed", probed.part);
  EXPECT_TRUE(Says(probed.FaultOfGraph(), "probe embed is a part of a sum"));
  OneRank result(2, 2, {1, 2, 3, 4});
  result.Finish();
  result.graph.logits = result.part.id;
  EXPECT_TRUE(Says(result.FaultOfGraph(), "the graph's result is a part of a sum"));
}

TEST(RanksVerify, WhatEveryRankHasIsNotSummed) {
  OneRank rank(2, 2, {1, 2, 3, 4});
  (void)AllReduce(rank.b(), rank.x);
  EXPECT_TRUE(Says(rank.FaultOfGraph(), "all_reduce reads %6, which is whole, expected a part of a sum"));
}

TEST(RanksVerify, EveryKindOfPartIsKnown) {
  const auto fault = [](const std::function<ValueRef(OneRank&, const Routed&)>& make) {
    OneRank rank(3, 4, kChoices);
    const Routed routed(rank);
    const ValueRef part = make(rank, routed);
    (void)AllReduce(rank.b(), part);
    (void)Scale(rank.b(), part, 2);
    return rank.FaultOfGraph();
  };
  const ExpertAttrs tp{.num_experts = 4, .segments = Whole(4), .leaves = 1};
  const auto expert = [&](OneRank& rank, const Routed& routed) {
    return rank.b().Emit(Op::kExpertMatMul, {routed.rows, rank.Weight("e", {4, 1, 4}, Layout::kExperts), routed.offsets}, tp).front();
  };
  const std::vector<std::function<ValueRef(OneRank&, const Routed&)>> makers{
      [](OneRank& rank, const Routed&) { return MatMul(rank.b(), {.x = rank.x, .weight = rank.Weight("w", {4, 4}, Layout::kMatmul)}, Whole(4), 2); },
      [](OneRank& rank, const Routed&) { return SquareSum(rank.b(), rank.x, {.segments = Whole(4)}); },
      [](OneRank& rank, const Routed&) { return Zeros(rank.b(), 4); },
      [](OneRank& rank, const Routed& routed) {
        return rank.b().Emit(Op::kExpertCombine, {routed.rows, routed.positions, routed.ids}, ExpertAttrs{.num_experts = 4, .num_groups = 4}).front();
      },
      expert,
      [&](OneRank& rank, const Routed& routed) { return ExpertIsolate(rank.b(), expert(rank, routed), routed.offsets, {.num_experts = 4}); }};
  for (size_t i = 0; i < makers.size(); ++i) EXPECT_TRUE(Says(fault(makers[i]), "which is a part of a sum, expected whole")) << i;
}

TEST(RanksInfer, RefusesLeavesThatAreNoTree) {
  OneRank rank(2, 4, {1, 2, 3, 4, 5, 6, 7, 8});
  const ValueRef weight = rank.Weight("w", {4, 4}, Layout::kMatmul), bias = rank.Weight("b", {4}, Layout::kVector);
  const auto fault = [&](const MatMulOperands& operands, const Segments& segments, int64_t leaves) {
    return FaultOf([&] { (void)MatMul(rank.b(), operands, segments, leaves); });
  };
  EXPECT_TRUE(Says(fault({.x = rank.x, .weight = weight}, Whole(4), 3), "has 3 leaves, expected 1, 2, 4 or 8"));
  EXPECT_TRUE(Says(fault({.x = rank.x, .weight = weight}, {0, 1, 2, 4, 4, 4, 4, 4, 4}, 2), "segments after the first 2 reach to 4"));
  EXPECT_TRUE(Says(fault({.x = rank.x, .weight = weight, .bias = bias}, Whole(4), 4), "a part of a sum has a bias or a residual"));
  EXPECT_TRUE(Says(fault({.x = rank.x, .weight = weight, .residual = rank.x}, Whole(4), 4), "a part of a sum has a bias or a residual"));
}

TEST(RanksInfer, RefusesColumnsThatAreNotTheRanks) {
  OneRank rank(2, 2, {1, 2, 3, 4});
  const auto gather = [&](ValueRef x, const Segments& borders) { return FaultOf([&] { (void)AllGather(rank.b(), x, borders); }); };
  EXPECT_TRUE(Says(gather(rank.x, {0, 1, 4, 4, 4, 4, 4, 4, 4}), "x has 2 columns, its rank 3"));
  EXPECT_TRUE(Says(gather(rank.x, {0, 1, 3, 3, 3, 4, 4, 4, 4}), "the 4 ranks have 3 of 4 columns"));
  EXPECT_TRUE(Says(gather(rank.x, {0, 2, 2, 2, 4, 4, 4, 4, 4}), "has 1 operands for 0 columns"));
  EXPECT_TRUE(Says(gather({}, {0, 1, 3, 3, 4, 4, 4, 4, 4}), "has 0 operands for 2 columns"));
  EXPECT_TRUE(Says(gather({}, {}), "gathers no columns"));
  const auto squares = [&](const SquareSumAttrs& attrs) { return FaultOf([&] { (void)SquareSum(rank.b(), rank.x, attrs); }); };
  EXPECT_TRUE(Says(squares({.segments = Whole(3)}), "segments 0 to 3 are not within the 2 columns of x"));
  EXPECT_TRUE(Says(squares({.segments = {1, 0, 2, 2, 2, 2, 2, 2, 2}}), "segment 0 runs from 1 back to 0"));
  EXPECT_TRUE(Says(squares({.segments = Whole(2), .leaves = 0}), "has 0 leaves"));
}

TEST(RanksInfer, RefusesOperandsOfOtherShapes) {
  OneRank rank(2, 2, {1, 2, 3, 4});
  const ValueRef wide = rank.Weight("wide", {3}, Layout::kVector), weight = rank.Weight("w", {2}, Layout::kVector);
  const ValueRef sums = AllReduce(rank.b(), SquareSum(rank.b(), rank.x, {.segments = Whole(2)}));
  EXPECT_TRUE(Says(FaultOf([&] { (void)AddBias(rank.b(), rank.x, wide); }), "bias has shape [3], expected [2]"));
  EXPECT_TRUE(Says(FaultOf([&] { (void)Zeros(rank.b(), 0); }), "makes [2, 0]"));
  const auto norm = [&](ValueRef of, ValueRef by, const NormAttrs& attrs) { return FaultOf([&] { (void)NormBy(rank.b(), rank.x, of, by, attrs); }); };
  EXPECT_TRUE(Says(norm(rank.x, weight, {.eps = 1, .width = 4}), "sums has shape [2, 2], expected [2, 1]"));
  EXPECT_TRUE(Says(norm(sums, wide, {.eps = 1, .width = 4}), "weight has shape [3], expected [2]"));
  EXPECT_TRUE(Says(norm(sums, weight, {.eps = 1, .width = 0}), "width is 0, expected that of one run of columns"));
  EXPECT_TRUE(Says(norm(sums, weight, {.eps = 0, .width = 2}), "eps is 0"));
  EXPECT_TRUE(Says(FaultOf([&] { (void)Sample(rank.b(), GatherRows(rank.b(), rank.x), 1); }), "logits have 2 columns of a vocabulary of 1"));
}

TEST(RanksInfer, RefusesExpertsThatAreNotThere) {
  OneRank rank(3, 4, kChoices);
  const Routed routed(rank);
  const Builder& b = rank.b();
  const ValueRef weight = rank.Weight("e", {2, 1, 4}, Layout::kExperts), bias = rank.Weight("bias", {3, 4}, Layout::kTable);
  const auto matmul = [&](const ExpertAttrs& attrs) {
    return FaultOf([&] { (void)b.Emit(Op::kExpertMatMul, {routed.rows, weight, routed.offsets}, attrs); });
  };
  EXPECT_TRUE(Says(matmul({.num_experts = 4, .segments = Whole(4)}), "weight has shape [2, 1, 4]"));
  EXPECT_TRUE(Says(matmul({.num_experts = 4, .segments = Whole(4), .first_expert = 3, .own_experts = 2}), "has experts 3 to 5 of 4"));
  EXPECT_TRUE(Says(FaultOf([&] { (void)ExpertIsolate(b, routed.rows, routed.offsets, {.num_experts = 5}); }), "offsets has shape [1, 5]"));
  EXPECT_TRUE(Says(FaultOf([&] { (void)ExpertBias(b, routed.rows, routed.offsets, bias); }), "offsets has shape [1, 5], expected [1, 4]"));
  const auto combine = [&](int64_t first, int64_t count) {
    const ExpertAttrs attrs{.num_experts = 4, .first_group = first, .num_groups = count};
    return FaultOf([&] { (void)b.Emit(Op::kExpertCombine, {routed.rows, routed.positions, routed.ids}, attrs); });
  };
  EXPECT_TRUE(Says(combine(2, 4), "adds 4 groups from 2, which are no subtree of 8"));
  EXPECT_TRUE(Says(combine(0, 3), "adds 3 groups from 0"));
  EXPECT_TRUE(Says(combine(8, 2), "adds 2 groups from 8"));
}

TEST(RanksInfer, OneRankHasNoPartOfATable) {
  Graph graph = EmptyGraph();
  const Builder b(graph);
  const ValueRef table = b.Weight("table", {5, 8}, Shard::kVocab, Layout::kMatmul);
  EXPECT_TRUE(Says(FaultOf([&] { (void)Embedding(b, table, 1, 5); }), "first_id is 5"));
  EXPECT_TRUE(Says(FaultOf([&] { (void)Sample(b, GatherRows(b, Embedding(b, table, 1)), 9); }), "logits have 8 columns of a vocabulary of 9"));
}

TEST(RanksPrint, SaysWhoseGraphItIsAndWhatItLeavesToOthers) {
  OneRank rank(2, 2, {1, 2, 3, 4});
  const Builder& b = rank.b();
  (void)AllReduce(b, Embedding(b, rank.Weight("own", {1, 2}, Layout::kMatmul), 1, 7));
  (void)AllReduce(b, MatMul(b, {.x = rank.x, .weight = rank.Weight("w", {2, 2}, Layout::kMatmul)}, Whole(2), 2));
  (void)AllReduce(b, SquareSum(b, rank.x, {.segments = {1, 2, 2, 2, 2, 2, 2, 2, 2}, .leaves = 1}));
  (void)AllGather(b, rank.x, {0, 1, 3, 3, 4, 4, 4, 4, 4});
  (void)Sample(b, GatherRows(b, rank.x), 9);
  const std::string text = Print(rank.graph);
  for (std::string_view line :
       {"max_context 8, rank 1 of 4, experts over 2\n", "= all_reduce %5 ", "@own {scale 1, ids from 7}", "@w {segments 0 2 2 2 2 2 2 2 2, leaves 2}",
        "[2, 1] = square_sum %6 {segments 1 2 2 2 2 2 2 2 2, leaves 1}", "[2, 4] = all_gather %6 {borders 0 1 3 3 4 4 4 4 4}", "{of 9}"}) {
    EXPECT_TRUE(Says(text, line));
  }
}

}  // namespace intaglio::graph
