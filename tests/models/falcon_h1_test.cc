#include <gtest/gtest.h>

#include "tests/models/edited_config.h"
#include "tests/models/fixture.h"

namespace intaglio::models {
namespace {

using nlohmann::json;

void ExpectRefused(const json& edits, std::string_view message) {
  const std::string refusal = RefusalOf("falcon-h1-tiny", edits);
  EXPECT_NE(refusal.find(message), std::string::npos) << edits << ": \"" << refusal << '"';
}

const graph::RecurrenceAttrs& ScanOf(const graph::Graph& graph) {
  for (const graph::Node& node : graph.nodes) {
    if (node.op == graph::Op::kSsmScan) return std::get<graph::RecurrenceAttrs>(node.attrs);
  }
  throw std::logic_error("the graph has no scan");
}

bool HasWeight(const graph::Graph& graph, std::string_view name) {
  return std::ranges::any_of(graph.weights, [&](const graph::Weight& weight) { return weight.name == name; });
}

}  // namespace

TEST(FalconH1, MatchesTransformersWithAttentionBesideMamba) { ExpectMatchesTransformers("falcon-h1-tiny"); }

TEST(FalconH1, SizesOfTheStateFollowWhatIsGiven) {
  EXPECT_EQ(ScanOf(BuildEdited("falcon-h1-tiny", {{"mamba_d_head", "auto"}})).value_dim, 16);
  EXPECT_EQ(ScanOf(BuildEdited("falcon-h1-tiny", {{"mamba_d_ssm", nullptr}, {"mamba_expand", 2}, {"mamba_d_head", 32}})).value_dim, 32);
  const graph::Graph grouped = BuildEdited("falcon-h1-tiny", {{"mamba_n_groups", 2}, {"mamba_d_state", 24}});
  EXPECT_EQ(ScanOf(grouped).key_heads, 2);
  EXPECT_EQ(ScanOf(grouped).key_dim, 24);
}

TEST(FalconH1, StepsAreBoundedWhereTheConfigSaysSo) {
  EXPECT_EQ(ScanOf(BuildEdited("falcon-h1-tiny", {})).most_step, INFINITY);
  EXPECT_EQ(ScanOf(BuildEdited("falcon-h1-tiny", {{"time_step_limit", {0.125, 2.0}}})).least_step, 0.125f);
  EXPECT_EQ(ScanOf(BuildEdited("falcon-h1-tiny", {{"time_step_limit", "absent"}})).most_step, INFINITY);
}

TEST(FalconH1, NormAndBiasesAreThereWhenAskedFor) {
  const graph::Graph plain = BuildEdited("falcon-h1-tiny", {});
  const graph::Graph full =
      BuildEdited("falcon-h1-tiny", {{"mamba_rms_norm", true}, {"mamba_proj_bias", true}, {"projectors_bias", true}, {"mamba_conv_bias", false}});
  for (const char* name : {"model.layers.0.mamba.norm.weight", "model.layers.0.mamba.in_proj.bias", "model.layers.0.mamba.out_proj.bias"}) {
    EXPECT_FALSE(HasWeight(plain, name)) << name;
    EXPECT_TRUE(HasWeight(full, name)) << name;
  }
  EXPECT_TRUE(HasWeight(plain, "model.layers.0.mamba.conv1d.bias"));
  EXPECT_FALSE(HasWeight(full, "model.layers.0.mamba.conv1d.bias"));
}

TEST(FalconH1, RefusesWhatCannotBe) {
  ExpectRefused({{"mamba_d_head", 24}}, "mamba_n_heads 4 x mamba_d_head 24 is not mamba_d_ssm (or mamba_expand x hidden_size), 64");
  ExpectRefused({{"mamba_d_head", "large"}}, "mamba_d_head is \"large\", expected a number or \"auto\"");
  ExpectRefused({{"mamba_n_groups", 3}}, "mamba_n_heads 4 is not a multiple of mamba_n_groups 3");
  ExpectRefused({{"mamba_d_conv", 17}}, "mamba_d_conv is 17; supported: 2 to 16");
  ExpectRefused({{"mamba_d_state", 5000}}, "mamba_d_state is 5000");
  ExpectRefused({{"ssm_multipliers", {1.0, 1.0}}}, "ssm_multipliers has 2 entries, expected 5");
  ExpectRefused({{"mlp_multipliers", {1.0, 0.0}}}, "mlp_multipliers has 0, expected positive numbers");
  ExpectRefused({{"key_multiplier", -1.0}}, "key_multiplier is -1");
  ExpectRefused({{"time_step_limit", {2.0, 1.0}}}, "time_step_limit is not two ascending numbers");
  ExpectRefused({{"time_step_limit", "short"}}, "time_step_limit is \"short\"");
  ExpectRefused({{"hidden_act", "gelu_pytorch_tanh"}}, "hidden_act is \"gelu_pytorch_tanh\"");
}

}  // namespace intaglio::models
