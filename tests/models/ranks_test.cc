// Every model, shared out over ranks, is the model of one rank.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "layers/shard.h"
#include "tests/decoder_fixtures.h"
#include "tests/models/edited_config.h"
#include "tests/models/embedder_fixture.h"
#include "tests/models/fixture.h"
#include "tests/models/lockstep.h"

namespace intaglio::models {
namespace {

using nlohmann::json;

constexpr int kTpDegrees[] = {2, 3, 4, 6, 8};

class EachDegree : public testing::TestWithParam<std::tuple<const char*, int>> {
 protected:
  [[nodiscard]] static std::string name() { return std::get<0>(GetParam()); }
  [[nodiscard]] static int tp_degree() { return std::get<1>(GetParam()); }
};

class EachDecoder : public EachDegree {};
class EachEmbedder : public EachDegree {};

std::string NameOf(const testing::TestParamInfo<std::tuple<const char*, int>>& info) {
  std::string name = std::get<0>(info.param);
  std::ranges::replace(name, '-', '_');
  return name + "_tp" + std::to_string(std::get<1>(info.param));
}

// A fixture's model with other fields, and weights that are made up.
void ExpectEditedAgrees(const std::string& fixture, const json& edits) {
  const std::unique_ptr<Model> model = ParseEdited(fixture, edits);
  const graph::Interpreter::ReadTensor read = InventTensors(*model);
  for (int tp_degree : kTpDegrees) ExpectRanksAgree({.model = *model, .read = read}, tp_degree);
}

std::string ErrorOf(const Model& model, const graph::RankPlace& place) {
  try {
    (void)model.Build({.rows = 1, .outputs = 1, .max_context = 8, .place = place});
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  return "";
}

}  // namespace

TEST_P(EachDecoder, GivesWhatOneRankGives) {
  const Fixture fixture(name());
  ExpectRanksAgree({.model = fixture.model(), .read = [&](const std::string& tensor) { return fixture.ReadTensor(tensor); }}, tp_degree());
}
INSTANTIATE_TEST_SUITE_P(Models, EachDecoder, testing::Combine(testing::ValuesIn(test::kDecoderFixtures), testing::ValuesIn(kTpDegrees)), NameOf);

TEST_P(EachEmbedder, GivesWhatOneRankGives) {
  const EmbedderFixture fixture(name(), /*has_prefix=*/name() == "qwen3-embedding-tiny");
  ExpectRanksAgree({.model = *fixture.model, .read = [&](const std::string& tensor) { return fixture.ReadTensor(tensor); }}, tp_degree());
}
INSTANTIATE_TEST_SUITE_P(Models, EachEmbedder,
                         testing::Combine(testing::Values("bert-embedding-tiny", "gemma3-embedding-tiny", "qwen3-embedding-tiny"),
                                          testing::ValuesIn(kTpDegrees)),
                         NameOf);

TEST(Ranks, HaveACopyOfAKvHeadForEachQueryHeadWhereThatIsAllThereIs) {
  // Nine query heads on three KV heads: at TP 4, rank 0 has query heads 0 to 3, which read KV head 0 three times and 1 once.
  const json heads = {{"num_attention_heads", 9}, {"num_key_value_heads", 3}, {"head_dim", 16}};
  const graph::Graph graph =
      ParseEdited("llama-tiny", heads)->Build({.rows = 1, .outputs = 1, .max_context = 8, .place = {.rank = 0, .tp_degree = 4}});
  EXPECT_EQ(graph.kv_caches.front().kv_heads, 4);
  ExpectEditedAgrees("llama-tiny", heads);
}

TEST(Ranks, CountEachColumnOfANormOverAllHeadsOnce) {
  ExpectEditedAgrees("olmo2-tiny", {{"hidden_size", 144}, {"num_attention_heads", 9}, {"num_key_value_heads", 3}});
}

TEST(Ranks, HaveTheirHeadsOfAStackedProjection) {
  ExpectEditedAgrees("phi3-tiny", {{"hidden_size", 144}, {"num_attention_heads", 9}, {"num_key_value_heads", 3}});
}

TEST(Ranks, NormaliseGroupsOfMambaThatTheyShare) {
  for (const bool is_norm_first : {true, false}) {
    for (const int groups : {1, 2, 4}) {
      SCOPED_TRACE(groups);
      ExpectEditedAgrees("falcon-h1-tiny", {{"mamba_rms_norm", true}, {"mamba_norm_before_gate", is_norm_first}, {"mamba_n_groups", groups}});
    }
  }
}

TEST(Ranks, HaveTheirPartOfMambasBiases) {
  ExpectEditedAgrees("falcon-h1-tiny", {{"mamba_proj_bias", true}, {"projectors_bias", true}, {"mamba_n_groups", 2}});
}

TEST(Ranks, ShareTheValueHeadsOfAKeyHead) { ExpectEditedAgrees("qwen3-next-tiny", {{"linear_num_key_heads", 3}, {"linear_num_value_heads", 9}}); }

TEST(Ranks, HaveTheirPartOfMxfp4Experts) {
  // Sixteen of an expert's 32 columns are half of a group that has one exponent.
  const json mxfp4 = {{"quant_method", "mxfp4"}};
  ExpectEditedAgrees("gpt-oss-tiny", {{"quantization_config", mxfp4}, {"intermediate_size", 96}});
}

TEST(Ranks, MayBeMoreThanThereAreExperts) { ExpectEditedAgrees("mixtral-tiny", {{"num_local_experts", 2}, {"num_experts_per_tok", 2}}); }

TEST(Ranks, AreRefusedWithBothNumbers) {
  const std::unique_ptr<Model> model = ParseEdited("llama-tiny", {{"vocab_size", 40}});   // three units of 16
  EXPECT_EQ(ErrorOf(*model, {.rank = 0, .tp_degree = 2}), "");
  EXPECT_EQ(ErrorOf(*model, {.rank = 0, .tp_degree = 4}),
            "a tensor-parallel degree of 4 is too much for a vocabulary of 40: rank 0 would have none of it");
  EXPECT_NE(ErrorOf(*model, {.rank = 0, .tp_degree = 9}), "");
  EXPECT_NE(ErrorOf(*model, {.rank = 2, .tp_degree = 2}), "");
  EXPECT_NE(ErrorOf(*model, {.rank = 0, .tp_degree = 2, .ep_degree = 4}), "");
}

}  // namespace intaglio::models
