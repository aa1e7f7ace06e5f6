#include "graph/builder.h"

#include <gtest/gtest.h>

#include "intaglio/error.h"
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

// Matrices in units of 64 columns.
FormatPolicy Units() {
  return [](const Weight&) { return WeightFormat{.dtype = DType::kQ8_0, .unit_k = 64}; };
}

TEST(Builder, MatricesHaveTheFormatThatThePolicyGivesThem) {
  Graph graph = EmptyGraph();
  graph.formats = Units();
  const Builder b(graph);
  EXPECT_EQ(b.Weight("matrix", {5, 8}, Shard::kRows, Layout::kMatmul).weight().dtype, DType::kQ8_0);
  EXPECT_EQ(b.Weight("vector", {5}, Shard::kRows, Layout::kVector).weight().dtype, DType::kF32);
}

TEST(Builder, SegmentsOfAMatmulBeginAtUnitsOfItsWeight) {
  Graph graph = EmptyGraph();
  graph.formats = Units();
  const Builder b(graph);
  const ValueRef x = Embedding(b, b.In("table").Weight("weight", {5, 200}, Shard::kVocab, Layout::kMatmul), 1);
  (void)MatMul(b, {.x = x, .weight = b.Weight("w", {3, 200}, Shard::kRows, Layout::kMatmul)}, {0, 1, 64, 65, 100, 128, 150, 193, 200});
  EXPECT_EQ(std::get<MatMulAttrs>(graph.nodes.back().attrs).segments, (Segments{0, 64, 64, 128, 128, 128, 192, 200, 200}));
}

TEST(Builder, RanksMustCutKAtUnits) {
  const auto declare = [](int64_t first_k, int64_t num_k) {
    Graph graph = EmptyGraph();
    graph.formats = Units();
    WeightSource source{.name = "down.weight", .shape = {3, 200}, .shard = Shard::kColumns, .first_k = first_k, .num_k = num_k};
    (void)Builder(graph).In("down").Declare({.name = "weight", .shape = {3, num_k}, .layout = Layout::kMatmul, .sources = {source}});
  };
  EXPECT_NO_THROW(declare(64, 64));
  EXPECT_NO_THROW(declare(128, 72)) << "the last unit is not whole";
  try {
    declare(64, 80);
    FAIL() << "cut within a unit";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    for (const char* part : {"down.weight", "q8_0", "units of 64", "column 144", "--group", "--dequantize", "--tp"})
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
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
