#include "compiler/layout.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "compiler/pipeline.h"
#include "compiler/weight_formats.h"
#include "kernels/kv_layout.h"
#include "kernels/pack.h"
#include "tests/base/temporary_folder.h"
#include "tests/compiler/fixture_model.h"

namespace intaglio::compiler {
namespace {

using graph::Graph;
using graph::Layout;

std::vector<Graph> TwoGraphs(const char* fixture_name, const graph::FormatPolicy& formats = {}) {
  const FixtureModel fixture(fixture_name);
  std::vector<Graph> graphs{fixture.Build(Phase::kContextEncoding, 16, 16, formats), fixture.Build(Phase::kTokenGeneration, 2, 2, formats)};
  for (Graph& graph : graphs) RunPipeline(graph, {});
  return graphs;
}

Graph GraphWithCaches(const std::vector<int64_t>& windows) {
  Graph graph;
  for (int64_t window : windows) {
    graph.kv_caches.push_back({.layer = static_cast<int32_t>(graph.kv_caches.size()), .kv_heads = 2, .head_dim = 24, .window = window});
  }
  return graph;
}

TEST(PlaceWeights, GivesEveryWeightBytesOfItsOwnInOrder) {
  const std::vector<Graph> graphs = TwoGraphs("qwen2-tiny");
  const WeightLayout layout = PlaceWeights(graphs);
  uint64_t end = 0;
  for (const PlacedWeight& placed : layout.weights) {
    EXPECT_GE(placed.offset, end) << placed.weight.name;
    EXPECT_EQ(placed.offset % (placed.bytes >= 4096 ? 4096 : 64), 0u) << placed.weight.name;
    EXPECT_EQ(&layout.weights[layout.index.at(placed.weight.name)], &placed);
    end = placed.offset + placed.bytes;
  }
  EXPECT_GE(layout.file_bytes, end);
  EXPECT_LT(layout.file_bytes - end, 4096u);
  EXPECT_EQ(layout.weights.size(), graphs[0].weights.size());   // graphs share all of them
}

TEST(PlaceWeights, FollowsAStepsOrder) {
  const WeightLayout layout = PlaceWeights(TwoGraphs("llama-untied-mqa-tiny"));
  std::vector<std::string> order;
  for (const char* name : {"model.embed_tokens.weight", "model.layers.0.self_attn.qkv_proj.weight", "model.layers.0.self_attn.o_proj.weight",
                           "model.layers.0.mlp.gate_up_proj.weight", "model.layers.0.mlp.down_proj.weight",
                           "model.layers.1.self_attn.qkv_proj.weight", "model.norm.weight", "lm_head.weight"}) {
    ASSERT_TRUE(layout.index.contains(name)) << name;
    EXPECT_TRUE(order.empty() || layout.index.at(order.back()) < layout.index.at(name)) << name;
    order.emplace_back(name);
  }
}

TEST(PlaceWeights, StoresATiedWeightOnce) {
  const auto num_tables = [](const char* fixture) {
    const WeightLayout layout = PlaceWeights(TwoGraphs(fixture));
    return std::ranges::count_if(layout.weights, [](const PlacedWeight& placed) {
      return placed.weight.sources.size() == 1 && placed.weight.sources[0].shard == graph::Shard::kVocab;
    });
  };
  EXPECT_EQ(num_tables("gemma3-text-tiny"), 1);
  EXPECT_EQ(num_tables("llama-untied-mqa-tiny"), 2);
}

TEST(PlaceWeights, NarrowsMatmulWeightsOnly) {
  for (const PlacedWeight& placed : PlaceWeights(TwoGraphs("qwen2-tiny", EveryMatrixAs(DType::kBF16))).weights) {
    const bool is_matmul = placed.weight.layout == Layout::kMatmul;
    EXPECT_EQ(placed.weight.dtype, is_matmul ? DType::kBF16 : DType::kF32) << placed.weight.name;
    const auto bytes = is_matmul ? kernels::PackedBytes(placed.rows, placed.cols, DType::kBF16) : placed.rows * placed.cols * 4;
    EXPECT_EQ(placed.bytes, static_cast<uint64_t>(bytes)) << placed.weight.name;
  }
}

TEST(PlaceKvCache, GroupsLayersByWindow) {
  const KvLayout kv = PlaceKvCache(GraphWithCaches({512, 512, 0, 512}), {.max_context = 4096, .max_slots = 2, .largest_step = 256});
  ASSERT_EQ(kv.groups.size(), 2u);
  EXPECT_EQ(kv.groups[0].window, 512);
  EXPECT_EQ(kv.groups[1].window, 0);
  EXPECT_EQ(kv.layers[2].group, 1);
  EXPECT_EQ(kv.layers[3].group, 0);
}

TEST(PlaceKvCache, FullAttentionHoldsTheWholeContext) {
  EXPECT_EQ(PlaceKvCache(GraphWithCaches({0}), {.max_context = 4096, .max_slots = 2, .largest_step = 256}).groups[0].blocks_per_slot, 64);
  EXPECT_EQ(PlaceKvCache(GraphWithCaches({0}), {.max_context = 65, .max_slots = 2, .largest_step = 256}).groups[0].blocks_per_slot, 2);
}

// Wherever a step begins, the positions its first row sees and those it writes fit in the blocks of the slot.
TEST(PlaceKvCache, ASlidingWindowHoldsTheBlocksInReachWhereverAStepBegins) {
  for (int64_t window : {1, 16, 64, 65, 100}) {
    for (int64_t step : {1, 4, 63, 64, 65, 130}) {
      const KvLayout kv = PlaceKvCache(GraphWithCaches({window}), {.max_context = 1 << 16, .max_slots = 1, .largest_step = step});
      int64_t most_blocks = 0;
      for (int64_t first = window - 1; first < window + 64; ++first) {
        most_blocks = std::max(most_blocks, (first + step - 1) / 64 - (first - (window - 1)) / 64 + 1);
      }
      EXPECT_GE(kv.groups[0].blocks_per_slot, most_blocks) << "window " << window << ", step " << step;
      EXPECT_LE(kv.groups[0].blocks_per_slot, most_blocks + 1) << "window " << window << ", step " << step;
    }
  }
}

TEST(PlaceKvCache, ASlidingWindowNeverHoldsMoreThanTheContext) {
  EXPECT_EQ(PlaceKvCache(GraphWithCaches({512}), {.max_context = 128, .max_slots = 1, .largest_step = 256}).groups[0].blocks_per_slot, 2);
}

TEST(PlaceKvCache, LayersTileThePoolExactly) {
  const KvLayout kv = PlaceKvCache(GraphWithCaches({16, 0, 16}), {.max_context = 640, .max_slots = 3, .largest_step = 64});
  uint64_t end = 0;
  for (const bundle::KvLayer& layer : kv.layers) {
    EXPECT_EQ(layer.offset, end);
    const int64_t blocks = 3 * kv.groups[static_cast<size_t>(layer.group)].blocks_per_slot;
    EXPECT_EQ(layer.bytes, static_cast<uint64_t>(blocks * kernels::KvBlockBytes(2, {24, 24})));
    end += layer.bytes;
  }
  EXPECT_EQ(kv.pool_bytes, end);
}

TEST(PlaceKvCache, RecurrentStatesFollowTheLayersWithEntriesForAStepOfSpeculation) {
  Graph graph = GraphWithCaches({0});
  graph.states = {{.layer = 0, .name = "conv", .floats = 20, .lookback = 3}, {.layer = 0, .name = "recurrent", .floats = 64, .lookback = 1}};
  const KvLayout kv = PlaceKvCache(graph, {.max_context = 64, .max_slots = 3, .largest_step = 64, .speculation = 4});
  ASSERT_EQ(kv.states.size(), 2u);
  EXPECT_EQ(kv.states[0].entries, 8);   // of 5 rows, and the 3 before the first of them
  EXPECT_EQ(kv.states[0].offset, kv.layers[0].bytes);
  EXPECT_EQ(kv.states[0].bytes, 3u * 8 * 32 * 4);   // 20 floats in whole lanes
  EXPECT_EQ(kv.states[1].entries, 6);
  EXPECT_EQ(kv.states[1].offset, kv.states[0].offset + kv.states[0].bytes);
  EXPECT_EQ(kv.pool_bytes, kv.states[1].offset + 3u * 6 * 64 * 4);
}

TEST(PlaceKvCache, RefusesAStateThatNoMachineHolds) {
  Graph graph = GraphWithCaches({0});
  graph.states = {{.layer = 0, .name = "recurrent", .floats = int64_t{1} << 44}};
  const std::string message =
      MessageOf(ErrorCode::kInvalidArgument, [&] { (void)PlaceKvCache(graph, {.max_context = 64, .max_slots = 64, .largest_step = 1}); });
  EXPECT_NE(message.find("--max-batch"), std::string::npos) << message;
}

TEST(PlaceKvCache, RefusesWhatNoMachineHolds) {
  Graph graph = GraphWithCaches({0});
  graph.kv_caches[0].kv_heads = 1 << 20;
  const std::string message =
      MessageOf(ErrorCode::kInvalidArgument, [&] { (void)PlaceKvCache(graph, {.max_context = 1 << 24, .max_slots = 1024, .largest_step = 1}); });
  EXPECT_NE(message.find("--max-context"), std::string::npos) << message;
}

}  // namespace
}  // namespace intaglio::compiler
