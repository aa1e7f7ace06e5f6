#include <gtest/gtest.h>

#include "tests/models/edited_config.h"
#include "tests/models/fixture.h"

namespace intaglio::models {
namespace {

using nlohmann::json;

void ExpectRefused(const json& edits, std::string_view message) {
  const std::string refusal = RefusalOf("qwen3-next-tiny", edits);
  EXPECT_NE(refusal.find(message), std::string::npos) << edits << ": \"" << refusal << '"';
}

// The layers that have a node of `op`, in order.
std::vector<int> LayersWith(graph::Op op, const json& edits) {
  std::vector<int> layers;
  for (const graph::Node& node : BuildEdited("qwen3-next-tiny", edits).nodes) {
    if (node.op == op) layers.push_back(std::stoi(node.scope.substr(std::string_view("model.layers.").size())));
  }
  return layers;
}

}  // namespace

TEST(Qwen3Next, MatchesTransformersWithTheGatedDeltaRule) { ExpectMatchesTransformers("qwen3-next-tiny"); }

TEST(Qwen3Next, AllButEveryFourthLayerAreLinearUnlessTheConfigListsThem) {
  EXPECT_EQ(LayersWith(graph::Op::kAttention, {}), std::vector<int>{3});
  EXPECT_EQ(LayersWith(graph::Op::kAttention, {{"layer_types", "absent"}, {"num_hidden_layers", 9}}), (std::vector<int>{3, 7}));
  EXPECT_EQ(LayersWith(graph::Op::kAttention, {{"layer_types", "absent"}, {"full_attention_interval", 2}}), (std::vector<int>{1, 3}));
  const json types = {"full_attention", "linear_attention", "linear_attention", "linear_attention"};
  EXPECT_EQ(LayersWith(graph::Op::kAttention, {{"layer_types", types}}), std::vector<int>{0});
  EXPECT_EQ(LayersWith(graph::Op::kGatedDeltaRule, {{"layer_types", types}}), (std::vector<int>{1, 2, 3}));
}

TEST(Qwen3Next, SomeLayersMayBeDense) {
  EXPECT_EQ(LayersWith(graph::Op::kRoute, {{"mlp_only_layers", {1}}}), (std::vector<int>{0, 2, 3}));
  EXPECT_EQ(LayersWith(graph::Op::kRoute, {{"decoder_sparse_step", 2}}), (std::vector<int>{1, 3}));
}

TEST(Qwen3Next, AQuarterOfAHeadRotatesUnlessTheConfigSaysOtherwise) {
  const auto rotary_dim = [](const json& edits) {
    const graph::Graph graph = BuildEdited("qwen3-next-tiny", edits);
    const auto rope = std::ranges::find(graph.nodes, graph::Op::kRope, &graph::Node::op);
    return std::get<graph::RopeAttrs>(rope->attrs).rotary_dim;
  };
  EXPECT_EQ(rotary_dim({{"partial_rotary_factor", "absent"}}), 4);
  EXPECT_EQ(rotary_dim({{"partial_rotary_factor", 0.5}}), 8);
  EXPECT_EQ(rotary_dim({{"partial_rotary_factor", 1.0}}), 16);
}

TEST(Qwen3Next, RefusesWhatCannotBe) {
  ExpectRefused({{"layer_types", {"full_attention", "sliding_attention", "full_attention", "full_attention"}}},
                "layer_types has \"sliding_attention\"; supported: full_attention, linear_attention");
  ExpectRefused({{"layer_types", {"full_attention"}}}, "layer_types has 1 entries for 4 layers");
  ExpectRefused({{"linear_num_key_heads", 3}}, "linear_num_value_heads 4 is not a multiple of linear_num_key_heads 3");
  ExpectRefused({{"linear_conv_kernel_dim", 1}}, "linear_conv_kernel_dim is 1; supported: 2 to 16");
  ExpectRefused({{"linear_value_head_dim", 5000}}, "linear_value_head_dim 5000");
  ExpectRefused({{"hidden_act", "gelu_pytorch_tanh"}}, "hidden_act is \"gelu_pytorch_tanh\"");
  ExpectRefused({{"num_experts_per_tok", 9}}, "num_experts_per_tok is 9 of 4 experts");
}

}  // namespace intaglio::models
