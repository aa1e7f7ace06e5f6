// Graphs that end in embeddings: what the verifier and the printer make of them, and the oracle's ops on numbers that one can check by hand.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <stdexcept>

#include "graph/builder.h"
#include "graph/interpreter.h"
#include "graph/print.h"
#include "graph/verify.h"
#include "intaglio/error.h"

namespace intaglio::graph {
namespace {

// rows x 2 embeddings of tokens 0 to 3 as (1, 3), (2, -2), (5, 0), (0, 0); positions, a norm and pooling by turns.
struct Small {
  Graph graph;
  ValueRef x, positioned, normed, pooled, first;

  Small() {
    graph.rows = 4, graph.outputs = 2, graph.max_context = 3;
    const Builder b(graph);
    x = Embedding(b, b.Weight("words", {4, 2}, Shard::kVocab, Layout::kMatmul), 1.0f);
    const ValueRef table = b.Weight("table", {3, 2}, Shard::kReplicated, Layout::kTable);
    const ValueRef constant = b.Weight("constant", {2}, Shard::kReplicated, Layout::kVector);
    positioned = AddPosition(b, x, table, constant);
    const ValueRef weight = b.Weight("weight", {2}, Shard::kReplicated, Layout::kVector),
                   bias = b.Weight("bias", {2}, Shard::kReplicated, Layout::kVector);
    normed = LayerNorm(b, x, {.weight = weight, .bias = bias}, 3.0f);
    first = Pool(b, x, PoolMode::kFirst);
    pooled = Pool(b, x, PoolMode::kMean);
    graph.embeddings = UnitNorm(b, pooled).id;
  }

  // Tokens 0, 1, 2 are a sequence, token 3 another; their last rows are output rows.
  [[nodiscard]] std::vector<Buffer> Run() const {
    const Interpreter interpreter(graph, [](const std::string& name) -> std::vector<float> {
      if (name == "words") return {1, 3, 2, -2, 5, 0, 0, 0};
      if (name == "table") return {10, 20, 30, 40, 50, 60};
      if (name == "constant") return {0.5f, 0.25f};
      if (name == "weight") return {2, 1};
      return {1, -1};
    });
    const std::vector<int32_t> tokens{0, 1, 2, 3}, positions{0, 1, 2, 0}, slots{0, 0, 0, 1}, output_rows{2, 3};
    KvState kv;
    return interpreter.Run({.tokens = tokens, .positions = positions, .slots = slots, .output_rows = output_rows}, kv);
  }
  [[nodiscard]] std::vector<float> ValueOf(ValueId id) const { return Run()[static_cast<size_t>(id)].f32; }
};

TEST(EmbedderGraph, IsVerifiedAndPrintedWithItsResult) {
  const Small small;
  EXPECT_NO_THROW(Verify(small.graph, "building"));
  const std::string text = Print(small.graph);
  EXPECT_NE(text.find("pool %5, %positions, %output_rows {mean}"), std::string::npos) << text;
  EXPECT_NE(text.find("results\n  embeddings %"), std::string::npos);
  EXPECT_EQ(text.find("logits"), std::string::npos);
}

TEST(EmbedderGraph, CannotAlsoGenerate) {
  Small small;
  const auto fault = [&](const std::function<void(Graph&)>& change) -> std::string {
    Graph broken = small.graph;
    change(broken);
    try {
      Verify(broken, "breaking");
    } catch (const std::logic_error& error) { return error.what(); }
    return "";
  };
  EXPECT_NE(fault([](Graph& g) { g.logits = g.embeddings; }).find("both results"), std::string::npos);
  EXPECT_NE(fault([](Graph& g) { g.phase = Phase::kTokenGeneration; }).find("an embedder has a graph of token_generation"), std::string::npos);
  EXPECT_NE(fault([&](Graph& g) { g.embeddings = small.x.id; }).find("embeddings are f32 [4, 2], expected f32 [2, dim]"), std::string::npos);
  EXPECT_NE(fault([](Graph& g) { g.max_context = 4; }).find("for at least 4 positions"), std::string::npos);
}

TEST(EmbedderOps, AddTheTableRowOfEachPosition) {
  const Small small;
  EXPECT_EQ(small.ValueOf(small.positioned.id), (std::vector<float>{11.5f, 23.25f, 32.5f, 38.25f, 55.5f, 60.25f, 10.5f, 20.25f}));
}

// Rows of two elements deviate from their mean by half their difference: (1, 3) has a variance of 1, and 1 / sqrt(1 + 3) is 1 / 2.
TEST(EmbedderOps, NormaliseByMeanAndDeviation) {
  const Small small;
  const std::vector<float> normed = small.ValueOf(small.normed.id);
  EXPECT_FLOAT_EQ(normed[0], -0.5f * 2 + 1);
  EXPECT_FLOAT_EQ(normed[1], 0.5f - 1);
  EXPECT_FLOAT_EQ(normed[6], 1);
  EXPECT_FLOAT_EQ(normed[7], -1);
}

TEST(EmbedderOps, PoolTheSequenceThatEndsInEachOutputRow) {
  const Small small;
  EXPECT_EQ(small.ValueOf(small.first.id), (std::vector<float>{1, 3, 0, 0}));
  const std::vector<float> mean = small.ValueOf(small.pooled.id);
  EXPECT_FLOAT_EQ(mean[0], 8.0f / 3);
  EXPECT_FLOAT_EQ(mean[1], 1.0f / 3);
  EXPECT_EQ(mean[2], 0);
}

TEST(EmbedderOps, DivideRowsByTheirLengthButNotByZero) {
  const Small small;
  const std::vector<float> unit = small.ValueOf(small.graph.embeddings);
  EXPECT_FLOAT_EQ(unit[0], 8 / std::sqrt(65.0f));
  EXPECT_FLOAT_EQ(unit[1], 1 / std::sqrt(65.0f));
  EXPECT_EQ(unit[2], 0);
  EXPECT_EQ(unit[3], 0);
}

TEST(EmbedderOps, ASequenceThatBeganBeforeTheStepIsAnError) {
  const Small small;
  const Interpreter interpreter(small.graph, [](const std::string& name) {
    return std::vector<float>(name == "words" ? 8 : name == "table" ? 6 : 2);
  });
  const std::vector<int32_t> tokens{0}, positions{1}, slots{0}, output_rows{0};
  KvState kv;
  EXPECT_THROW((void)interpreter.Run({.tokens = tokens, .positions = positions, .slots = slots, .output_rows = output_rows}, kv), Error);
}

TEST(Attention, BothWaysSeesTheWindowOnBothSides) {
  const AttentionAttrs both{.window = 3, .sees_both_ways = true}, causal{.window = 3}, all{.sees_both_ways = true};
  for (int64_t key : {3, 4, 5, 6, 7}) EXPECT_TRUE(both.IsVisible(5, key)) << key;
  for (int64_t key : {2, 8}) EXPECT_FALSE(both.IsVisible(5, key)) << key;
  EXPECT_FALSE(causal.IsVisible(5, 6));
  EXPECT_TRUE(all.IsVisible(0, 1000));
}

}  // namespace
}  // namespace intaglio::graph
