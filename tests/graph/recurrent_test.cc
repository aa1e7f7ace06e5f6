// Ops of recurrent layers: what the builder refuses, and what the interpreter makes of them.
#include <gtest/gtest.h>

#include <cmath>

#include "graph/interpreter.h"
#include "graph/print.h"
#include "graph/verify.h"
#include "intaglio/error.h"
#include "tests/graph/small_graph.h"

namespace intaglio::graph {
namespace {

constexpr RecurrenceAttrs kSizes{.key_heads = 1, .value_heads = 1, .key_dim = 1, .value_dim = 1};

// A layer over an embedding of `cols` columns and five tokens; results that the verifier asks for are made from the embedding.
struct Layer {
  explicit Layer(int64_t cols) : graph(EmptyGraph()), root(graph), b(root.InLayer(0)) {
    graph.outputs = graph.rows;
    graph.values[3].shape = {graph.rows};
    x = Embedding(root, root.Weight("table", {5, cols}, Shard::kVocab, Layout::kMatmul), 1);
    graph.logits = GatherRows(root, x).id;
    const Sampled sampled = Sample(root, {&graph, graph.logits});
    graph.ids = sampled.ids.id, graph.logprobs = sampled.logprobs.id;
  }
  [[nodiscard]] ValueRef Vector(const std::string& name, int64_t size = 1) const { return b.Weight(name, {size}, Shard::kRows, Layout::kVector); }
  [[nodiscard]] ValueRef Conv(int64_t taps, int64_t state_floats, int64_t lookback) const {
    const ValueRef weight = b.Declare(
        {.name = "taps", .shape = {taps, x.shape()[1]}, .layout = Layout::kTable, .sources = {{.name = "taps", .shape = {taps, x.shape()[1]}}}});
    const ValueRef state = b.State({.name = "conv", .floats = state_floats, .lookback = lookback});
    return b.Emit(Op::kCausalConv, {state, x, weight, b.slots(), b.positions()}, ConvAttrs{}).front();
  }
  // The rows of these tokens of slot 0, from a position on.
  std::vector<float> Run(ValueRef value, std::vector<int32_t> tokens, int32_t position) {
    std::vector<int32_t> positions, slots(tokens.size(), 0), output_rows;
    for (size_t i = 0; i < tokens.size(); ++i)
      positions.push_back(position + static_cast<int32_t>(i)), output_rows.push_back(static_cast<int32_t>(i));
    const Interpreter interpreter(graph, [this](const std::string& name) { return tensors.at(name); });
    return interpreter.Run({.tokens = tokens, .positions = positions, .slots = slots, .output_rows = output_rows}, kv)[static_cast<size_t>(value.id)]
        .f32;
  }

  Graph graph;
  Builder root, b;
  ValueRef x;
  std::map<std::string, std::vector<float>> tensors;
  KvState kv;
};

}  // namespace

TEST(Interpreter, AConvolutionReachesIntoEarlierSteps) {
  Layer layer(1);
  const ValueRef y = layer.Conv(/*taps=*/3, 1, 2);
  layer.tensors = {{"table", {0, 1, 2, 3, 4}}, {"taps", {100, 10, 1}}};
  const auto silu = [](float v) { return v / (1 + std::exp(-v)); };
  const std::vector<float> first = layer.Run(y, {1, 2}, 0), second = layer.Run(y, {3, 4}, 2);
  EXPECT_NEAR(first[0], silu(1), 1e-6);
  EXPECT_NEAR(first[1], silu(12), 1e-5);
  EXPECT_NEAR(second[0], 123, 1e-4);
  EXPECT_NEAR(second[1], 234, 1e-4);
  EXPECT_THROW((void)layer.Run(y, {1}, 7), Error);   // no position 6
}

// Values, B, C and dt are all 1, A is -1 and D 2.
TEST(Interpreter, AScanCarriesItsState) {
  Layer layer(3);
  const ValueRef state = layer.b.State({.name = "recurrent", .floats = kSizes.state_floats()});
  const ValueRef dt = layer.b.Emit(Op::kSlice, {layer.x}, SliceAttrs{.begin = 0, .size = 1}).front();
  const std::vector<ValueRef> operands{
      state, layer.x, dt, layer.Vector("a"), layer.Vector("bias"), layer.Vector("d"), layer.b.slots(), layer.b.positions()};
  const ValueRef y = layer.b.Emit(Op::kSsmScan, operands, kSizes).front();
  layer.tensors = {{"table", std::vector<float>(15, 1.0f)}, {"layers.0.a", {0}}, {"layers.0.bias", {0}}, {"layers.0.d", {2}}};
  const double step = std::log1p(std::exp(1.0));
  const std::vector<float> first = layer.Run(y, {1}, 0), second = layer.Run(y, {1}, 1);
  EXPECT_NEAR(first[0], step + 2, 1e-6);
  EXPECT_NEAR(second[0], std::exp(-step) * step + step + 2, 1e-6);
}

TEST(Builder, RefusesStatesThatDoNotFitTheirOp) {
  EXPECT_NE(FaultOf([] { (void)Layer(8).Conv(4, 8, 2); }).find("lookback of 2, expected 8 and 3"), std::string::npos);
  EXPECT_NE(FaultOf([] { (void)Layer(8).Conv(4, 7, 3); }).find("has 7 floats"), std::string::npos);
  EXPECT_NE(FaultOf([] { (void)Layer(8).Conv(1, 8, 0); }).find("expected 2 to 16 taps"), std::string::npos);
  const Layer layer(3);
  EXPECT_NE(FaultOf([&] { (void)layer.root.State({.name = "conv", .floats = 1}); }).find("not within a layer"), std::string::npos);
}

TEST(Builder, RefusesGatesAndVectorsOfOtherWidths) {
  const Layer layer(8);
  const ValueRef narrow = layer.b.Emit(Op::kSlice, {layer.x}, SliceAttrs{.begin = 0, .size = 2}).front();
  EXPECT_NE(FaultOf([&] { (void)SigmoidGate(layer.b, layer.x, narrow); }), "");
  EXPECT_NE(FaultOf([&] { (void)ScaleColumns(layer.b, layer.x, layer.Vector("v", 7)); }), "");
  const ValueRef one = layer.b.Emit(Op::kSlice, {layer.x}, SliceAttrs{.begin = 0, .size = 1}).front();
  EXPECT_EQ(FaultOf([&] { (void)SigmoidGate(layer.b, layer.x, one); }), "");
}

TEST(Verify, AStateBelongsToOneOp) {
  Layer layer(8);
  (void)layer.Conv(4, 8, 3);
  EXPECT_EQ(FaultOf([&] { Verify(layer.graph, "here"); }), "");
  layer.graph.nodes.push_back(layer.graph.nodes.back());
  layer.graph.nodes.back().outputs[0] = static_cast<ValueId>(layer.graph.values.size());
  layer.graph.values.push_back(layer.graph.values.back());
  layer.graph.values.back().label.clear();
  EXPECT_NE(FaultOf([&] { Verify(layer.graph, "here"); }).find("after it was updated"), std::string::npos);
  layer.graph.nodes.pop_back(), layer.graph.values.pop_back();
  layer.graph.states.push_back(layer.graph.states.front());
  EXPECT_NE(FaultOf([&] { Verify(layer.graph, "here"); }).find("two states conv"), std::string::npos);
}

TEST(Print, ShowsStatesAndTheOpsThatCarryThem) {
  Layer layer(8);
  (void)layer.Conv(4, 8, 3);
  const std::string text = Print(layer.graph);
  EXPECT_NE(text.find("layer 0 conv: 8 floats, lookback 3"), std::string::npos) << text;
  EXPECT_NE(text.find("causal_conv $layer0.state.conv"), std::string::npos) << text;
}

}  // namespace intaglio::graph
