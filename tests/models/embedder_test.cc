// Embedders: their graphs, run by the interpreter, against Transformers; and what ParseEmbedder makes of sentence-transformers' modules.
#include "models/embedder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "graph/interpreter.h"
#include "tests/base/temporary_folder.h"
#include "tests/models/embedder_fixture.h"

namespace intaglio::models {
namespace {

using checkpoint::HfConfig;

EmbedderModule Module(const std::string& kind, const std::string& path = {}, const std::string& config = "{}") {
  return {.type = "sentence_transformers.models." + kind, .path = path, .config = HfConfig::Parse(config, path + "/config.json")};
}

constexpr const char* kMean = R"({"pooling_mode_mean_tokens": true})";

template <typename... Modules>
EmbedderConfig Parse(Modules... modules) {
  EmbedderModule list[] = {std::move(modules)...};
  return ParseEmbedder(list, 64, "modules.json");
}

template <typename... Modules>
std::string RefusalOf(ErrorCode code, Modules... modules) {
  return MessageOf(code, [&] { (void)Parse(std::move(modules)...); });
}

bool Contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

TEST(ParseEmbedder, ReadsPoolingDenseLayersAndNormalisation) {
  const EmbedderConfig embedder =
      Parse(Module("Transformer"), Module("Pooling", "1_Pooling", kMean), Module("Dense", "2_Dense", R"({"in_features": 64, "out_features": 96})"),
            Module("Dense", "3_Dense",
                   R"({"in_features": 96, "out_features": 32, "bias": false, "activation_function": "torch.nn.modules.linear.Identity"})"),
            Module("Normalize", "4_Normalize"));
  EXPECT_EQ(embedder.pooling, Pooling::kMean);
  ASSERT_EQ(embedder.dense.size(), 2u);
  EXPECT_EQ(embedder.dense[0].scope, "2_Dense");
  EXPECT_TRUE(embedder.dense[0].has_bias && embedder.dense[0].has_tanh);   // sentence-transformers' defaults
  EXPECT_FALSE(embedder.dense[1].has_bias || embedder.dense[1].has_tanh);
  EXPECT_TRUE(embedder.is_normalised);
  EXPECT_EQ(embedder.dim(64), 32);
}

TEST(ParseEmbedder, KnowsThreePoolings) {
  const auto pooling = [](const char* config) { return Parse(Module("Transformer"), Module("Pooling", "1_Pooling", config)).pooling; };
  EXPECT_EQ(pooling(R"({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false})"), Pooling::kFirst);
  EXPECT_EQ(pooling(kMean), Pooling::kMean);
  EXPECT_EQ(pooling(R"({"pooling_mode_lasttoken": true})"), Pooling::kLast);
}

TEST(ParseEmbedder, RefusesWithTheFileAndWhatIsSupported) {
  constexpr ErrorCode kUnsupported = ErrorCode::kUnsupported, kDataLoss = ErrorCode::kDataLoss;
  const auto pooled = [](const char* config) { return Module("Pooling", "1_Pooling", config); };
  EXPECT_TRUE(Contains(RefusalOf(kUnsupported, Module("Pooling", "1_Pooling", kMean)), "modules.json: expected modules that begin with"));
  EXPECT_TRUE(Contains(RefusalOf(kUnsupported, Module("Transformer"), Module("LSTM")), "modules.json"));
  EXPECT_TRUE(Contains(RefusalOf(kUnsupported, Module("Transformer", "0_Transformer"), pooled(kMean)), "0_Transformer"));
  EXPECT_TRUE(Contains(RefusalOf(kUnsupported, Module("Transformer"), pooled(R"({"pooling_mode_max_tokens": true})")),
                       "1_Pooling/config.json: pooling_mode_max_tokens is true"));
  EXPECT_TRUE(Contains(RefusalOf(kUnsupported, Module("Transformer"), pooled("{}")), "0 pooling modes are true"));
  EXPECT_TRUE(
      Contains(RefusalOf(kUnsupported, Module("Transformer"), pooled(R"({"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true})")),
               "2 pooling modes are true"));
  EXPECT_TRUE(Contains(RefusalOf(kDataLoss, Module("Transformer"), pooled(R"({"pooling_mode_mean_tokens": true, "word_embedding_dimension": 65})")),
                       "word_embedding_dimension is 65"));
  EXPECT_TRUE(
      Contains(RefusalOf(kDataLoss, Module("Transformer"), pooled(kMean), Module("Dense", "2_Dense", R"({"in_features": 63, "out_features": 9})")),
               "in_features is 63, but what comes before gives 64"));
  const char* relu = R"({"in_features": 64, "out_features": 9, "activation_function": "torch.nn.modules.activation.ReLU"})";
  EXPECT_TRUE(Contains(RefusalOf(kUnsupported, Module("Transformer"), pooled(kMean), Module("Dense", "2_Dense", relu)), "activation.ReLU"));
  EXPECT_TRUE(Contains(RefusalOf(kUnsupported, Module("Transformer"), pooled(kMean), Module("Normalize"), Module("Normalize")), "follows Normalize"));
  EXPECT_TRUE(Contains(RefusalOf(kUnsupported, Module("Transformer"), pooled(kMean), Module("CNN")), "module 2 is"));
}

void ExpectNear(std::span<const float> actual, std::span<const float> expected, double tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  double worst = 0;
  for (size_t i = 0; i < actual.size(); ++i) worst = std::max(worst, std::fabs(static_cast<double>(actual[i]) - expected[i]));
  EXPECT_LE(worst, tolerance);
}

// Two texts of the fixture, of which one step has both.
void ExpectMatchesTransformers(const EmbedderFixture& fixture, const std::vector<std::vector<int32_t>>& texts, bool has_hidden_states) {
  std::vector<int32_t> tokens, positions, slots, output_rows;
  for (size_t text = 0; text < texts.size(); ++text) {
    for (size_t i = 0; i < texts[text].size(); ++i) {
      tokens.push_back(texts[text][i]), positions.push_back(static_cast<int32_t>(i)), slots.push_back(static_cast<int32_t>(text));
    }
    output_rows.push_back(static_cast<int32_t>(tokens.size()) - 1);
  }
  const graph::Graph graph = fixture.model->Build({.rows = 64, .outputs = 4, .max_context = 128});
  const graph::Interpreter interpreter(graph, [&](const std::string& name) { return fixture.ReadTensor(name); });
  graph::KvState kv;
  const auto values = interpreter.Run({.tokens = tokens, .positions = positions, .slots = slots, .output_rows = output_rows}, kv);
  const std::vector<float>& vectors = values[static_cast<size_t>(graph.embeddings)].f32;
  const std::vector<float> expected = fixture.Floats("embeddings");
  ExpectNear(vectors, std::span(expected).first(vectors.size()), 1e-5);
  if (!has_hidden_states) return;
  std::vector<float> hidden;
  for (const char* name : {"t0.last_hidden_state", "t1.last_hidden_state"}) {
    const std::vector<float> rows = fixture.Floats(name);
    hidden.insert(hidden.end(), rows.begin(), rows.end());
  }
  ExpectNear(values[static_cast<size_t>(graph.probes.at("last_hidden_state"))].f32, hidden, 2e-4);
}

// Ids of the first two texts of golden.json.
TEST(Embedder, BertMatchesTransformers) {
  ExpectMatchesTransformers(
      EmbedderFixture("bert-embedding-tiny", /*has_prefix=*/false),
      {{2, 229, 113, 135, 43, 53, 89, 819, 35, 3}, {2,   43,  53, 89, 819, 240, 645, 86,  125, 873, 171, 125, 470, 159, 47,  118, 74,  75, 109,
                                                    153, 396, 80, 86, 16,  285, 254, 975, 316, 153, 396, 80,  845, 86,  608, 463, 418, 18, 3}},
      /*has_hidden_states=*/true);
}

TEST(Embedder, BidirectionalGemma3MatchesTransformersOverItsHalvedWindow) {
  const EmbedderFixture fixture("gemma3-embedding-tiny", /*has_prefix=*/false);
  ExpectMatchesTransformers(
      fixture,
      {{2, 328, 345, 379, 417, 374, 369, 316, 327, 387, 338, 687, 304, 1},
       {2,   306, 369, 316, 327, 387, 338, 687, 369, 498, 342, 353, 356, 395, 740, 356, 456, 395, 550, 356, 445, 404, 384, 496, 376,
        443, 498, 351, 475, 770, 562, 404, 338, 510, 811, 443, 498, 351, 941, 435, 356, 369, 448, 826, 356, 638, 511, 287, 1}},
      /*has_hidden_states=*/true);
  EXPECT_TRUE(fixture.model->needs_whole_sequences());
  const graph::Graph graph = fixture.model->Build({.rows = 8, .outputs = 1, .max_context = 8});
  EXPECT_EQ(graph.kv_caches[0].window, 9);   // 16 / 2 + 1
  EXPECT_EQ(graph.kv_caches[1].window, 0);
}

TEST(Embedder, Qwen3MatchesTransformersAtTheLastToken) {
  const EmbedderFixture fixture("qwen3-embedding-tiny", /*has_prefix=*/true);
  ExpectMatchesTransformers(fixture,
                            {{54, 71, 270, 308, 265, 220, 42, 53, 284, 64, 544, 30, 960},
                             {32,  220, 42, 53, 284, 64,  544, 220, 395, 68,  79,  82,  290, 631, 82,  352, 290, 903, 341, 298, 276, 392, 267,
                              336, 395, 77, 82, 11,  576, 466, 298, 64,  406, 709, 336, 395, 77,  831, 329, 82,  942, 829, 914, 13,  960}},
                            /*has_hidden_states=*/false);
  EXPECT_FALSE(fixture.model->needs_whole_sequences());
}

TEST(Embedder, NamesWeightsAsAModelWithoutAHeadDoes) {
  const graph::Graph graph = EmbedderFixture("qwen3-embedding-tiny", /*has_prefix=*/false).model->Build({.rows = 1, .outputs = 1, .max_context = 8});
  for (const graph::Weight& weight : graph.weights) EXPECT_FALSE(weight.name.starts_with("model.")) << weight.name;
}

TEST(Embedder, MayBeAnyDecoderSavedWithoutItsHead) {
  const HfConfig config = HfConfig::Parse(
      R"({"architectures": ["MistralModel"], "model_type": "mistral", "vocab_size": 50, "hidden_size": 64, "num_hidden_layers": 1,
          "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 32, "max_position_embeddings": 64, "rms_norm_eps": 1e-5})",
      "config.json");
  EXPECT_TRUE(IsHeadless(config));
  const auto model = ParseModel(config, {.embedder = EmbedderConfig{.pooling = Pooling::kLast, .dense = {}}, .has_prefix = false});
  EXPECT_EQ(model->architecture(), "MistralModel");
  const graph::Graph graph = model->Build({.rows = 4, .outputs = 2, .max_context = 64});
  EXPECT_EQ(graph.value(graph.embeddings).shape, (Shape{2, 64}));
}

}  // namespace
}  // namespace intaglio::models
