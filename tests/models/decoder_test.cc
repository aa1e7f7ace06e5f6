#include "models/decoder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "intaglio/error.h"
#include "tests/decoder_fixtures.h"
#include "tests/models/fixture.h"

namespace intaglio::models {
namespace {

using graph::Graph;
using graph::Op;

Graph Build(const Fixture& fixture, int64_t rows) {
  return fixture.model().Build({.phase = Phase::kContextEncoding, .rows = rows, .outputs = rows, .max_context = 128});
}

std::vector<float> LogitsInChunks(const Fixture& fixture, const std::vector<int32_t>& ids, int64_t rows) {
  const Graph graph = Build(fixture, rows);
  const graph::Interpreter interpreter(graph, [&](const std::string& name) { return fixture.ReadTensor(name); });
  std::vector<float> logits;
  for (const Chunk& chunk : RunInChunks(interpreter, graph, ids)) {
    const std::vector<float>& part = chunk.values[static_cast<size_t>(graph.logits)].f32;
    logits.insert(logits.end(), part.begin(), part.end());
  }
  return logits;
}

std::string ErrorOf(const Model& model, const GraphSizes& sizes) {
  try {
    (void)model.Build(sizes);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  return "";
}

class EachFixture : public testing::TestWithParam<const char*> {};

}  // namespace

TEST(KnownArchitectures, AreSorted) {
  const std::vector<std::string> names = KnownArchitectures();
  EXPECT_TRUE(std::ranges::is_sorted(names));
  for (const char* name : {"Gemma3ForCausalLM", "LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"}) {
    EXPECT_TRUE(std::ranges::binary_search(names, name)) << name;
  }
}

TEST_P(EachFixture, DeclaresExactlyTheCheckpointsTensors) {
  const Fixture fixture(GetParam());
  std::set<std::string> declared;
  for (const graph::Weight& weight : Build(fixture, 1).weights) {
    for (const graph::WeightSource& source : weight.sources) {
      ASSERT_TRUE(fixture.checkpoint().has(source.name)) << source.name;
      EXPECT_EQ(fixture.checkpoint().shape(source.name), source.shape) << source.name;
      declared.insert(source.name);
    }
  }
  const std::vector<std::string>& names = fixture.checkpoint().tensor_names();
  EXPECT_EQ(declared, std::set<std::string>(names.begin(), names.end()));
}

TEST_P(EachFixture, GivesTheSameLogitsInChunksOfAnySize) {
  const Fixture fixture(GetParam());
  const std::vector<int32_t> ids = fixture.Ids("p1.input_ids");
  const std::vector<float> whole = LogitsInChunks(fixture, ids, 32);
  for (int64_t rows : {1, 3, 16}) {
    const std::vector<float> logits = LogitsInChunks(fixture, ids, rows);
    ASSERT_EQ(logits.size(), whole.size());
    EXPECT_EQ(std::memcmp(logits.data(), whole.data(), whole.size() * sizeof(float)), 0) << "chunks of " << rows;
  }
}

TEST_P(EachFixture, AllPhasesShareWeightsCachesAndNodes) {
  const Fixture fixture(GetParam());
  const Graph context = fixture.model().Build({.phase = Phase::kContextEncoding, .rows = 16, .outputs = 4, .max_context = 64});
  for (const GraphSizes& sizes : {GraphSizes{Phase::kTokenGeneration, 2, 2, 64}, GraphSizes{Phase::kSpeculation, 10, 10, 64}}) {
    const Graph graph = fixture.model().Build(sizes);
    EXPECT_EQ(graph.phase, sizes.phase);
    EXPECT_EQ(graph.value(graph.logits).shape, (Shape{sizes.outputs, fixture.model().vocab_size()}));
    ASSERT_EQ(graph.weights.size(), context.weights.size());
    for (size_t i = 0; i < graph.weights.size(); ++i) {
      EXPECT_EQ(graph.weights[i].name, context.weights[i].name);
      EXPECT_EQ(graph.weights[i].constant, context.weights[i].constant);   // one rotary table in memory
    }
    std::set<int32_t> layers;   // each has a KV cache, or a recurrent state, or both
    for (const graph::KvCache& cache : graph.kv_caches) EXPECT_TRUE(layers.insert(cache.layer).second) << cache.layer;
    for (const graph::State& state : graph.states) layers.insert(state.layer);
    EXPECT_EQ(layers.size(), static_cast<size_t>(fixture.model().num_layers()));
    EXPECT_TRUE(std::ranges::equal(graph.nodes, context.nodes, {}, &graph::Node::op, &graph::Node::op));
  }
}

INSTANTIATE_TEST_SUITE_P(Models, EachFixture, testing::ValuesIn(test::kDecoderFixtures), [](const auto& info) {
  std::string name = info.param;
  std::ranges::replace(name, '-', '_');
  return name;
});

TEST(Decoder, OutputRowsAreTakenInTheOrderAsked) {
  const Fixture fixture("llama-tiny");
  const std::vector<int32_t> ids = fixture.Ids("p0.input_ids"), positions{0, 1, 2, 3, 4}, slots(5, 7), output_rows{1, 4};
  const Graph graph = fixture.model().Build({.phase = Phase::kContextEncoding, .rows = 8, .outputs = 3, .max_context = 16});
  const graph::Interpreter interpreter(graph, [&](const std::string& name) { return fixture.ReadTensor(name); });
  graph::KvState kv;
  const auto values = interpreter.Run({.tokens = ids, .positions = positions, .slots = slots, .output_rows = output_rows}, kv);
  const std::vector<float> all = LogitsInChunks(fixture, ids, 5), &logits = values[static_cast<size_t>(graph.logits)].f32;
  ASSERT_EQ(logits.size(), 2048U);
  EXPECT_TRUE(std::equal(logits.begin(), logits.begin() + 1024, all.begin() + 1024));
  EXPECT_TRUE(std::equal(logits.begin() + 1024, logits.end(), all.begin() + 4 * 1024));
}

TEST(Decoder, TiedHeadsUseTheEmbeddingsTable) {
  const auto head_of = [](const Graph& graph) { return std::ranges::find(graph.nodes, "lm_head", &graph::Node::scope)->inputs[1]; };
  const auto table_of = [](const Graph& graph) { return std::ranges::find(graph.nodes, Op::kEmbedding, &graph::Node::op)->inputs[1]; };
  const Graph tied = Build(Fixture("llama-tiny"), 1), untied = Build(Fixture("llama-untied-mqa-tiny"), 1);
  EXPECT_EQ(head_of(tied), table_of(tied));
  EXPECT_NE(head_of(untied), table_of(untied));
}

TEST(Decoder, CutsTheSumsOfOProjByHeadsAndOfDownProjByUnits) {
  const Graph graph = Build(Fixture("llama-heads-not-divisible-tiny"), 1);   // 6 q / 3 kv heads of 16, intermediate size 136
  const auto segments_of = [&](const char* scope) {
    return std::get<graph::MatMulAttrs>(std::ranges::find(graph.nodes, scope, &graph::Node::scope)->attrs).segments;
  };
  EXPECT_EQ(segments_of("model.layers.1.self_attn.o_proj"), (graph::Segments{0, 16, 32, 48, 64, 80, 96, 96, 96}));
  EXPECT_EQ(segments_of("model.layers.1.mlp.down_proj"), (graph::Segments{0, 16, 32, 48, 64, 80, 96, 112, 136}));
}

TEST(Decoder, RefusesSizesThatCannotBe) {
  const Fixture fixture("llama-tiny");   // max_position_embeddings 512
  const Model& model = fixture.model();
  EXPECT_NE(ErrorOf(model, {.rows = 0, .outputs = 0, .max_context = 8}), "");
  EXPECT_NE(ErrorOf(model, {.rows = 2, .outputs = 3, .max_context = 8}), "");
  EXPECT_NE(ErrorOf(model, {.phase = Phase::kSpeculation, .rows = 2, .outputs = 1, .max_context = 8}), "");
  EXPECT_EQ(ErrorOf(model, {.rows = 1, .outputs = 1, .max_context = 513}),
            "graph: max_context is 513; this model allows 1 to 512 (max_position_embeddings)");
  EXPECT_EQ(ErrorOf(model, {.rows = 1, .outputs = 1, .max_context = 512}), "");
}

}  // namespace intaglio::models
