#include "graph/builder.h"

#include <gtest/gtest.h>

#include "tests/graph/small_graph.h"

namespace intaglio::graph {
namespace {

constexpr Segments kNoCut{0, 8, 8, 8, 8, 8, 8, 8, 8};

// A graph with one activation of 4 x `cols`.
struct OneValue {
  explicit OneValue(int64_t cols)
      : graph(EmptyGraph()), b(graph), x(Embedding(b, b.In("table").Weight("weight", {5, cols}, Shard::kVocab, Layout::kMatmul), 1)) {}
  Graph graph;
  Builder b;
  ValueRef x;
};

}  // namespace

TEST(Builder, ScopesAreTheCheckpointsNames) {
  Graph graph = EmptyGraph();
  const Builder layer = Builder(graph).In("model").InLayer(3);
  (void)layer.In("self_attn").In("q_proj").Weight("weight", {8, 8}, Shard::kQueryHeads, Layout::kMatmul);
  ASSERT_EQ(graph.weights.size(), 1U);
  EXPECT_EQ(graph.weights[0].sources[0].name, "model.layers.3.self_attn.q_proj.weight");
  EXPECT_EQ(graph.weights[0].sources[0].shard, Shard::kQueryHeads);
}

TEST(Builder, OneNameIsOneWeight) {
  Graph graph = EmptyGraph();
  const Builder b(graph);
  const ValueRef first = b.Weight("table", {5, 8}, Shard::kVocab, Layout::kMatmul);
  EXPECT_EQ(b.Weight("table", {5, 8}, Shard::kVocab, Layout::kMatmul).id, first.id);
  EXPECT_EQ(graph.weights.size(), 1U);
}

TEST(Builder, TwoDeclarationsOfAWeightMustAgree) {
  Graph graph = EmptyGraph();
  const Builder b(graph);
  (void)b.Weight("table", {5, 8}, Shard::kVocab, Layout::kMatmul);
  EXPECT_EQ(FaultOf([&] { (void)b.Weight("table", {5, 9}, Shard::kVocab, Layout::kMatmul); }), "weight table is declared twice, in two ways");
  EXPECT_NE(FaultOf([&] { (void)b.Weight("table", {5, 8}, Shard::kRows, Layout::kMatmul); }), "");
  EXPECT_NE(FaultOf([&] { (void)b.Weight("table", {5, 8}, Shard::kVocab, Layout::kMatmul, 1.0f); }), "");
}

TEST(Builder, TablesAreSharedByContents) {
  Graph graph = EmptyGraph();
  const Builder b(graph);
  const auto table = [](float value) { return std::make_shared<const std::vector<float>>(8, value); };
  const ValueRef first = b.In("a").Table("rope", {4, 2}, table(1));
  EXPECT_EQ(b.In("b").Table("rope", {4, 2}, table(1)).id, first.id);
  EXPECT_NE(FaultOf([&] { (void)b.Table("rope", {4, 2}, table(2)); }), "");
  EXPECT_NE(FaultOf([&] { (void)b.Table("other", {4, 3}, table(1)); }), "");
}

TEST(Builder, ProbesAreNamedByLayer) {
  OneValue one(8);
  one.b.Probe("hidden.embed", one.x);
  one.b.InLayer(2).In("mlp").Probe("mlp_in", one.x);
  EXPECT_EQ(one.graph.probes, (std::map<std::string, ValueId>{{"hidden.embed", one.x.id}, {"layer2.mlp_in", one.x.id}}));
  EXPECT_EQ(one.graph.value(one.x.id).label, "hidden.embed");
  EXPECT_NE(FaultOf([&] { one.b.Probe("hidden.embed", one.x); }), "");
}

TEST(Builder, InfersShapes) {
  OneValue one(8);
  const Builder& b = one.b;
  EXPECT_EQ(one.x.shape(), (Shape{4, 8}));
  EXPECT_EQ(MatMul(b, {.x = one.x, .weight = b.Weight("w", {6, 8}, Shard::kRows, Layout::kMatmul)}, kNoCut).shape(), (Shape{4, 6}));
  EXPECT_EQ(b.Emit(Op::kSlice, {one.x}, SliceAttrs{.begin = 2, .size = 3}).front().shape(), (Shape{4, 3}));
  EXPECT_EQ(b.Emit(Op::kGatedSilu, {one.x}).front().shape(), (Shape{4, 4}));
  EXPECT_EQ(GatherRows(b, one.x).shape(), (Shape{2, 8}));
  const Sampled sampled = Sample(b, GatherRows(b, one.x));
  EXPECT_EQ(sampled.ids.shape(), (Shape{2, 1}));
  EXPECT_EQ(sampled.logprobs.shape(), (Shape{2, 41}));
  EXPECT_EQ(one.graph.value(sampled.ids.id).dtype, DType::kI32);
}

TEST(Builder, AnUpdatedCacheIsTheSameCache) {
  OneValue one(8);
  const Builder layer = one.b.InLayer(0);
  (void)one.b.InLayer(1).Cache({.kv_heads = 1, .head_dim = 4});
  const ValueRef cache = layer.Cache({.kv_heads = 2, .head_dim = 4}), updated = KvUpdate(layer, cache, one.x, one.x);
  EXPECT_EQ(one.graph.value(updated.id).index, one.graph.value(cache.id).index);
  EXPECT_TRUE(updated.shape().empty());
}

TEST(Builder, NamesOpAndScopeOfAMisuse) {
  OneValue one(8);
  const Builder mlp = one.b.InLayer(0).In("mlp");
  const ValueRef narrow = one.b.Emit(Op::kSlice, {one.x}, SliceAttrs{.begin = 0, .size = 4}).front();
  EXPECT_EQ(FaultOf([&] { (void)Mul(mlp, one.x, narrow); }), "mul in layers.0.mlp: right operand has shape [4, 4], expected [4, 8]");
  EXPECT_EQ(FaultOf([&] { (void)mlp.Emit(Op::kAdd, {one.x}); }), "add in layers.0.mlp: has 1 operands, expected 2");
  EXPECT_NE(FaultOf([&] { (void)one.b.Cache({.kv_heads = 1, .head_dim = 4}); }), "");   // outside of the layers
}

TEST(Builder, RefusesValuesOfAnotherGraph) {
  OneValue one(8), other(8);
  EXPECT_NE(FaultOf([&] { (void)Add(one.b, one.x, other.x); }), "");
}

}  // namespace intaglio::graph
