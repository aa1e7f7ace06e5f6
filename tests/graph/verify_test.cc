#include "graph/verify.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <stdexcept>

#include "tests/graph/small_graph.h"

namespace intaglio::graph {
namespace {

Node& Find(Graph& graph, Op op) { return *std::ranges::find(graph.nodes, op, &Node::op); }
Value& Output(Graph& graph, Op op) { return graph.values[static_cast<size_t>(Find(graph, op).outputs[0])]; }
Weight& Named(Graph& graph, const std::string& name) { return *std::ranges::find(graph.weights, name, &Weight::name); }
template <typename T>
T& AttrsOf(Graph& graph, Op op) {
  return std::get<T>(Find(graph, op).attrs);
}

// One way to break a sound graph, and what the verifier has to say about it.
struct Break {
  const char* name;
  std::function<void(Graph&)> apply;
  const char* message;
};

std::vector<Break> Sizes() {
  return {
      {"NoRows", [](Graph& g) { g.rows = 0; }, "0 rows"},
      {"MoreOutputsThanRows", [](Graph& g) { g.outputs = 5; }, "4 rows and 5 output rows"},
      {"NoContext", [](Graph& g) { g.max_context = 0; }, "max_context is 0"},
      {"SpeculationWithFewerOutputs", [](Graph& g) { g.phase = Phase::kSpeculation; }, "speculation verifies every row"},
      {"OtherRowsThanTheStepInputs", [](Graph& g) { g.rows = 5; }, "step input %0 is i32 [4], expected i32 [5]"},
      {"OtherContextThanTheTable", [](Graph& g) { g.max_context = 64; }, "table has shape [32, 4], expected [64, 4]"},
  };
}

std::vector<Break> Declarations() {
  return {
      {"TwoWeightsOfOneName", [](Graph& g) { g.weights[1].name = g.weights[0].name; }, "is there twice"},
      {"WeightWithoutName", [](Graph& g) { g.weights[0].name = ""; }, "has no name"},
      {"WeightWithoutSources", [](Graph& g) { g.weights[0].sources.clear(); }, "neither sources nor a constant"},
      {"EmptyWeight", [](Graph& g) { Named(g, "model.norm.weight").shape = {0}; }, "has shape [0]"},
      {"VectorOfTwoDimensions", [](Graph& g) { Named(g, "model.norm.weight").shape = {8, 1}; }, "vector weight model.norm.weight has shape [8, 1]"},
      {"SourcesThatDoNotAddUp", [](Graph& g) { g.weights[0].sources.push_back(g.weights[0].sources[0]); }, "have 80 elements, its shape is [5, 8]"},
      {"SourceRowsBeyondItsTensor", [](Graph& g) { g.weights[0].sources[0].first_row = 3, g.weights[0].sources[0].num_rows = 5; }, "beyond its 5"},
      {"SourceOfAMatrixThatIsNotThere",
       [](Graph& g) { g.weights[0].sources[0] = {.name = "stack", .shape = {2, 8, 5}, .view = SourceView::kColumns, .matrix = 2}; },
       "is matrix 2 of 2"},
      {"SourceOfOtherWidth", [](Graph& g) { g.weights[0].sources[0].shape = {5, 7}; }, "has shape [5, 7]"},
      {"ConstantOfOtherSize", [](Graph& g) { Named(g, "rope").constant = std::make_shared<std::vector<float>>(3); }, "constant rope has 3 elements"},
      {"ConstantWithSources", [](Graph& g) { Named(g, "rope").sources = g.weights[0].sources; }, "also has sources"},
      {"TwoCachesOfOneLayer", [](Graph& g) { g.kv_caches.push_back(g.kv_caches[0]); }, "layer 0 has two KV caches"},
      {"NegativeWindow", [](Graph& g) { g.kv_caches[0].window = -1; }, "window -1"},
      {"ActivationOfOtherRows", [](Graph& g) { g.values.push_back({.source = Source::kActivation, .shape = {3, 8}, .label = {}}); },
       "is f32 [3, 8], expected f32 [4, columns]"},
      {"ActivationThatANodeMakes", [](Graph& g) { Output(g, Op::kEmbedding).source = Source::kActivation; }, "which comes from outside"},
  };
}

std::vector<Break> Values() {
  return {
      {"WeightOutOfRange", [](Graph& g) { g.values[4].index = 99; }, "is weight 99 of"},
      {"WeightValueOfOtherShape", [](Graph& g) { g.values[4].shape = {5, 9}; }, "value %4 has shape [5, 9]"},
      {"TwoLabelsAlike", [](Graph& g) { g.values[1].label = g.values[0].label; }, "label tokens is given to two values"},
      {"StepInputTwice", [](Graph& g) { g.values[2].source = Source::kPositions; }, "value %2 (slots) is declared twice"},
      {"StepInputOfOtherType", [](Graph& g) { g.values[0].dtype = DType::kF32; }, "step input %0 is f32 [4]"},
      {"UnknownSource", [](Graph& g) { g.values[0].source = static_cast<Source>(77); }, "unknown source 77"},
      {"ValueThatNoNodeMakes", [](Graph& g) { g.values.push_back({.shape = {1}, .label = "stray"}); }, "no node makes value"},
  };
}

std::vector<Break> Order() {
  return {
      {"UseBeforeDefinition", [](Graph& g) { std::swap(g.nodes[0], g.nodes[1]); }, "before it is made"},
      {"InputOutOfRange", [](Graph& g) { g.nodes[3].inputs[0] = 1000; }, "reads value %1000"},
      {"NoInput", [](Graph& g) { g.nodes[3].inputs[0] = kNoValue; }, "reads value %-1"},
      {"OutputOutOfRange", [](Graph& g) { g.nodes[3].outputs[0] = -7; }, "makes value %-7"},
      {"TwoProducers", [](Graph& g) { g.nodes.push_back(g.nodes.front()); }, "which is made already"},
      {"NodeMakesAWeight", [](Graph& g) { g.nodes[0].outputs[0] = 4; }, "which comes from outside"},
      {"MissingOutput", [](Graph& g) { Find(g, Op::kSample).outputs.pop_back(); }, "has 1 outputs, expected 2"},
      {"OldCacheReadAfterUpdate", [](Graph& g) { g.nodes.push_back(Find(g, Op::kKvUpdate)); }, "after it was updated"},
      {"CacheReadBeforeUpdate", [](Graph& g) { Find(g, Op::kAttention).inputs[1] = Find(g, Op::kKvUpdate).inputs[0]; }, "after it was updated"},
      {"CacheNeverUpdated",
       [](Graph& g) {
         Find(g, Op::kAttention).inputs[1] = Find(g, Op::kKvUpdate).inputs[0];
         g.nodes.erase(std::ranges::find(g.nodes, Op::kKvUpdate, &Node::op));
       },
       "before this step's keys are in it"},
      {"UpdateOfAnotherCache",
       [](Graph& g) {
         g.kv_caches.push_back({.layer = 1, .kv_heads = 1, .head_dim = 4});
         Output(g, Op::kKvUpdate).index = 1;
       },
       "from KV cache 0, declared 1"},
  };
}

std::vector<Break> Operands() {
  return {
      {"UnknownOp", [](Graph& g) { g.nodes[0].op = static_cast<Op>(200); }, "unknown op 200"},
      {"TooFewOperands", [](Graph& g) { Find(g, Op::kAdd).inputs.pop_back(); }, "has 1 operands, expected 2"},
      {"TooManyOperands", [](Graph& g) { Find(g, Op::kSilu).inputs.push_back(0); }, "has 2 operands, expected 1"},
      {"BiasNotAnnounced", [](Graph& g) { Find(g, Op::kMatMul).inputs.push_back(4); }, "has 3 operands, its attributes say 2"},
      {"AttributesOfAnotherOp", [](Graph& g) { Find(g, Op::kSilu).attrs = SliceAttrs{}; }, "attributes of another op"},
      {"OutputOfOtherShape", [](Graph& g) { Output(g, Op::kSilu).shape = {4, 9}; }, "as f32 [4, 8], declared f32 [4, 9]"},
      {"OutputOfOtherType", [](Graph& g) { Output(g, Op::kSilu).dtype = DType::kBF16; }, "declared bf16"},
      {"IntegersAdded", [](Graph& g) { Find(g, Op::kAdd).inputs[0] = 0; }, "left operand is i32, expected f32"},
      {"ActivationAsWeight", [](Graph& g) { Find(g, Op::kMatMul).inputs[1] = Find(g, Op::kMatMul).inputs[0]; }, "weight is not a weight"},
      {"VectorAsMatrix", [](Graph& g) { Named(g, "model.layers.0.self_attn.q_proj.weight").layout = Layout::kTable; }, "has another layout"},
      {"TokensForPositions", [](Graph& g) { Find(g, Op::kRope).inputs[1] = 0; }, "operand 1 is not the step's positions"},
      {"PositionsForSlots", [](Graph& g) { Find(g, Op::kAttention).inputs[2] = 1; }, "operand 2 is not the step's slots"},
      {"PositionsForOutputRows", [](Graph& g) { Find(g, Op::kGatherRows).inputs[1] = 1; }, "operand 1 is not the step's output rows"},
      {"ActivationAsCache", [](Graph& g) { Find(g, Op::kKvUpdate).inputs[0] = Find(g, Op::kKvUpdate).inputs[1]; }, "operand 0 is not a KV cache"},
      {"KeysOfOtherWidth", [](Graph& g) { Find(g, Op::kKvUpdate).inputs[1] = Find(g, Op::kAttention).inputs[0]; },
       "k has shape [4, 8], expected [4, 4]"},
      {"SampleOfHiddenRows", [](Graph& g) { Find(g, Op::kSample).inputs[0] = Find(g, Op::kSilu).inputs[0]; }, "logits have 4 rows"},
  };
}

std::vector<Break> Attributes() {
  return {
      {"SegmentsThatStartLate", [](Graph& g) { AttrsOf<MatMulAttrs>(g, Op::kMatMul).segments[0] = 1; }, "segments start at 1"},
      {"SegmentsThatEndEarly", [](Graph& g) { AttrsOf<MatMulAttrs>(g, Op::kMatMul).segments[8] = 7; }, "segments end at 7, expected K = 8"},
      {"SegmentsThatFall", [](Graph& g) { AttrsOf<MatMulAttrs>(g, Op::kMatMul).segments[4] = 2; }, "segment 3 runs from 3 back to 2"},
      {"NormWithoutEps", [](Graph& g) { AttrsOf<NormAttrs>(g, Op::kRmsNorm).eps = 0; }, "eps is 0"},
      {"NormOfOddWidth", [](Graph& g) { AttrsOf<NormAttrs>(g, Op::kRmsNorm).width = 3; }, "width 3 does not divide"},
      {"NormWeightOfOtherWidth", [](Graph& g) { AttrsOf<NormAttrs>(g, Op::kRmsNorm).width = 4; }, "weight has shape [8], expected [4]"},
      {"OddRotaryDim", [](Graph& g) { AttrsOf<RopeAttrs>(g, Op::kRope).rotary_dim = 3; }, "rotary_dim 3 is not an even number"},
      {"RotaryDimOverHeadDim", [](Graph& g) { AttrsOf<RopeAttrs>(g, Op::kRope).rotary_dim = 6; }, "rotary_dim 6 is not"},
      {"TableOfOtherWidth", [](Graph& g) { AttrsOf<RopeAttrs>(g, Op::kRope).rotary_dim = 2; }, "table has shape [32, 4], expected [32, 2]"},
      {"HeadsThatCannotShare", [](Graph& g) { AttrsOf<AttentionAttrs>(g, Op::kAttention).heads = 0; }, "0 query heads cannot share 1"},
      {"OtherWindowThanTheCache", [](Graph& g) { AttrsOf<AttentionAttrs>(g, Op::kAttention).window = 8; }, "those of the cache 1, 4, 4, 16"},
      {"WindowBesideAChunk", [](Graph& g) { AttrsOf<AttentionAttrs>(g, Op::kAttention).chunk = 16; }, "expected at most one of them"},
      {"ValuesNarrowerThanTheCaches", [](Graph& g) { AttrsOf<AttentionAttrs>(g, Op::kAttention).v_dim = 2; }, "those of the cache 1, 4, 4, 16"},
      {"SinksThatAreNotThere", [](Graph& g) { AttrsOf<AttentionAttrs>(g, Op::kAttention).has_sinks = true; }, "its attributes say otherwise"},
      {"NegativeSoftcap", [](Graph& g) { AttrsOf<AttentionAttrs>(g, Op::kAttention).softcap = -1; }, "softcap is -1"},
      {"ScaleNotANumber", [](Graph& g) { AttrsOf<AttentionAttrs>(g, Op::kAttention).scale = NAN; }, "scale is nan"},
  };
}

std::vector<Break> Results() {
  return {
      {"NoLogits", [](Graph& g) { g.logits = kNoValue; }, "logits are missing"},
      {"NoIds", [](Graph& g) { g.ids = 12345; }, "ids are missing"},
      {"LogitsOfAllRows", [](Graph& g) { g.logits = Find(g, Op::kSilu).outputs[0]; }, "logits are f32 [4, 8], expected f32 [2, vocabulary]"},
      {"LogprobsAreLogits", [](Graph& g) { g.logprobs = g.logits; }, "logprobs are f32 [2, 5], expected f32 [2, 41]"},
      {"ProbeOutOfRange", [](Graph& g) { g.probes["lost"] = 500; }, "probe lost is value %500"},
  };
}

class VerifyBroken : public testing::TestWithParam<Break> {};

std::string NameOf(const testing::TestParamInfo<Break>& info) { return info.param.name; }

}  // namespace

TEST(Verify, AcceptsASoundGraph) { EXPECT_NO_THROW(Verify(SmallGraph(), "test")); }

TEST(Verify, SaysAfterWhichStageAndAtWhichNode) {
  Graph graph = SmallGraph();
  Find(graph, Op::kRmsNorm).inputs.pop_back();
  try {
    Verify(graph, "fuse_norm");
    FAIL() << "accepted";
  } catch (const std::logic_error& fault) {
    EXPECT_STREQ(fault.what(), "after fuse_norm: node 15 (model.norm): rms_norm in model.norm: has 1 operands, expected 2");
  }
}

TEST_P(VerifyBroken, IsRefusedWithItsReason) {
  Graph graph = SmallGraph();
  GetParam().apply(graph);
  try {
    Verify(graph, "test");
    FAIL() << "accepted";
  } catch (const std::logic_error& fault) { EXPECT_NE(std::string(fault.what()).find(GetParam().message), std::string::npos) << fault.what(); }
}

INSTANTIATE_TEST_SUITE_P(Sizes, VerifyBroken, testing::ValuesIn(Sizes()), NameOf);
INSTANTIATE_TEST_SUITE_P(Declarations, VerifyBroken, testing::ValuesIn(Declarations()), NameOf);
INSTANTIATE_TEST_SUITE_P(Values, VerifyBroken, testing::ValuesIn(Values()), NameOf);
INSTANTIATE_TEST_SUITE_P(Order, VerifyBroken, testing::ValuesIn(Order()), NameOf);
INSTANTIATE_TEST_SUITE_P(Operands, VerifyBroken, testing::ValuesIn(Operands()), NameOf);
INSTANTIATE_TEST_SUITE_P(Attributes, VerifyBroken, testing::ValuesIn(Attributes()), NameOf);
INSTANTIATE_TEST_SUITE_P(Results, VerifyBroken, testing::ValuesIn(Results()), NameOf);

}  // namespace intaglio::graph
