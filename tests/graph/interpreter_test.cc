#include "graph/interpreter.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <stdexcept>

#include "graph/builder.h"
#include "intaglio/error.h"
#include "tests/graph/small_graph.h"

namespace intaglio::graph {
namespace {

constexpr double kTolerance = 1e-6;

// A graph of one op under test. Its operand is embedding row `token` of a table that the test gives, so any numbers can go in; the
// results the verifier asks for are made from the embedding.
class OneOp {
 public:
  OneOp(int64_t rows, int64_t cols, std::vector<float> table) : table_(std::move(table)) {
    graph_.rows = graph_.outputs = rows, graph_.max_context = 8;
    builder_ = std::make_unique<Builder>(graph_);
    const auto vocab = static_cast<int64_t>(table_.size()) / cols;
    x_ = Embedding(*builder_, builder_->Weight("table", {vocab, cols}, Shard::kVocab, Layout::kMatmul), 1.0f);
  }
  [[nodiscard]] const Builder& b() const { return *builder_; }
  [[nodiscard]] ValueRef x() const { return x_; }
  ValueRef Vector(const std::string& name, std::vector<float> data, float add = 0) {
    const ValueRef value = b().Weight(name, {static_cast<int64_t>(data.size())}, Shard::kReplicated, Layout::kVector, add);
    vectors_[name] = std::move(data);
    return value;
  }
  ValueRef Matrix(const std::string& name, int64_t rows, std::vector<float> data) {
    const ValueRef value = b().Weight(name, {rows, static_cast<int64_t>(data.size()) / rows}, Shard::kRows, Layout::kMatmul);
    vectors_[name] = std::move(data);
    return value;
  }

  // Row i reads token i, at position i of slot 0, unless told otherwise.
  std::vector<Buffer> Run(std::vector<int32_t> positions = {}, std::vector<int32_t> slots = {}) {
    Finish();
    std::vector<int32_t> rows(static_cast<size_t>(graph_.rows));
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int32_t>(i);
    if (positions.empty()) positions = rows;
    if (slots.empty()) slots.assign(rows.size(), 0);
    const Interpreter interpreter(graph_, [this](const std::string& name) { return name == "table" ? table_ : vectors_.at(name); });
    return interpreter.Run({.tokens = rows, .positions = positions, .slots = slots, .output_rows = rows}, kv);
  }
  std::vector<float> ValueOf(ValueRef value) { return Run()[static_cast<size_t>(value.id)].f32; }

  KvState kv;

 private:
  void Finish() {
    if (graph_.logits != kNoValue) return;
    graph_.logits = GatherRows(b(), x_).id;
    const Sampled sampled = Sample(b(), {&graph_, graph_.logits});
    graph_.ids = sampled.ids.id, graph_.logprobs = sampled.logprobs.id;
  }

  Graph graph_;
  std::unique_ptr<Builder> builder_;
  ValueRef x_;
  std::vector<float> table_;
  std::map<std::string, std::vector<float>> vectors_;
};

void ExpectNear(const std::vector<float>& actual, const std::vector<double>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) EXPECT_NEAR(actual[i], expected[i], kTolerance) << i;
}

Segments Whole(int64_t k) {
  Segments segments;
  segments.fill(k);
  segments[0] = 0;
  return segments;
}

}  // namespace

TEST(Interpreter, MultipliesByTheTransposedWeightAndAddsBiasAndResidual) {
  OneOp op(2, 2, {1, 2, 3, 4});
  const ValueRef weight = op.Matrix("w", 2, {10, 1, 100, 0}), bias = op.Vector("bias", {0.5f, 0.25f});
  const ValueRef y = MatMul(op.b(), {.x = op.x(), .weight = weight, .bias = bias, .residual = op.x()}, Whole(2));
  ExpectNear(op.ValueOf(y), {12 + 0.5 + 1, 100 + 0.25 + 2, 34 + 0.5 + 3, 300 + 0.25 + 4});
}

TEST(Interpreter, NormalisesEachRunOfColumnsWithOneWeight) {
  OneOp op(1, 4, {3, 4, 0, 2});
  const ValueRef y = RmsNorm(op.b(), op.x(), op.Vector("w", {0, 1}, /*add=*/1.0f), {.eps = 0.5f, .width = 2});
  ExpectNear(op.ValueOf(y), {3 / std::sqrt(13.0), 2 * 4 / std::sqrt(13.0), 0, 2 * 2 / std::sqrt(2.5)});
}

TEST(Interpreter, RotatesHalvesOrNeighbours) {
  OneOp op(2, 6, {9, 9, 9, 9, 9, 9, 1, 2, 3, 4, 5, 6});   // one head of 6 of which 4 rotate; row 1 is at position 1
  const std::vector<float> table{1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  const ValueRef data = op.b().Table("rope", {8, 4}, std::make_shared<const std::vector<float>>(table));
  const ValueRef halves = Rope(op.b(), op.x(), data, {.head_dim = 6, .rotary_dim = 4});
  const ValueRef pairs = Rope(op.b(), op.x(), data, {.head_dim = 6, .rotary_dim = 4, .style = RopeStyle::kInterleaved});
  ExpectNear(op.ValueOf(halves), {9, 9, 9, 9, 9, 9, -3, 2, 1, 4, 5, 6});   // the first pair turns by 90 degrees, the second not at all
  ExpectNear(op.ValueOf(pairs), {9, 9, 9, 9, 9, 9, -2, 1, 3, 4, 5, 6});
}

TEST(Interpreter, FusedOpsMeanWhatTheirPartsMean) {
  OneOp op(2, 4, {1, -2, 0.5f, 3, -1, 0.25f, 2, -0.75f});
  const Builder& b = op.b();
  const auto half = [&](int64_t begin) { return b.Emit(Op::kSlice, {op.x()}, SliceAttrs{.begin = begin, .size = 2}).front(); };
  const ValueRef table = b.Table("rope", {8, 2}, std::make_shared<const std::vector<float>>(16, 0.6f)), weight = op.Vector("w", {2, 3});
  const std::vector<std::pair<ValueRef, ValueRef>> pairs{
      {b.Emit(Op::kGatedSilu, {op.x()}).front(), Mul(b, Silu(b, half(0)), half(2))},
      {b.Emit(Op::kGatedGeluTanh, {op.x()}).front(), Mul(b, GeluTanh(b, half(0)), half(2))},
      {b.Emit(Op::kNormRope, {op.x(), b.positions(), table, weight}, RopeAttrs{.head_dim = 2, .rotary_dim = 2, .eps = 0.1f}).front(),
       Rope(b, RmsNorm(b, op.x(), weight, {.eps = 0.1f, .width = 2}), table, {.head_dim = 2, .rotary_dim = 2})}};
  for (const auto& [fused, parts] : pairs) {
    const std::vector<float> expected = op.ValueOf(parts);
    ExpectNear(op.ValueOf(fused), {expected.begin(), expected.end()});
  }
}

TEST(Interpreter, ComputesActivations) {
  OneOp op(1, 2, {2, -1});
  const ValueRef silu = Silu(op.b(), op.x()), gelu = GeluTanh(op.b(), op.x());
  ExpectNear(op.ValueOf(silu), {2 / (1 + std::exp(-2.0)), -1 / (1 + std::exp(1.0))});
  ExpectNear(op.ValueOf(gelu), {1.954597694, -0.158808009});   // torch.nn.functional.gelu(x, approximate="tanh")
}

TEST(Interpreter, AttendsToTheRowsOwnSlotUpToItsPosition) {
  OneOp op(4, 1, {1, 2, 3, 4});
  const Builder layer = op.b().InLayer(0);
  const ValueRef cache = KvUpdate(layer, layer.Cache({.kv_heads = 1, .head_dim = 1}), op.x(), op.x());
  const ValueRef y = Attention(layer, op.x(), cache, {.heads = 1, .kv_heads = 1, .head_dim = 1, .scale = 1});
  const std::vector<float> out = op.Run({0, 1, 0, 1}, {5, 5, 2, 2})[static_cast<size_t>(y.id)].f32;
  const auto mix = [](double q, double first, double second) {
    const double a = std::exp(q * first), b = std::exp(q * second);
    return (a * first + b * second) / (a + b);
  };
  ExpectNear(out, {1, mix(2, 1, 2), 3, mix(4, 3, 4)});
}

TEST(Interpreter, AWindowHidesOlderPositions) {
  OneOp op(3, 1, {1, 2, 3});
  const Builder layer = op.b().InLayer(0);
  const ValueRef cache = KvUpdate(layer, layer.Cache({.kv_heads = 1, .head_dim = 1, .window = 1}), op.x(), op.x());
  const ValueRef y = Attention(layer, op.x(), cache, {.heads = 1, .kv_heads = 1, .head_dim = 1, .window = 1, .scale = 1});
  ExpectNear(op.ValueOf(y), {1, 2, 3});   // each row sees itself alone
}

TEST(Interpreter, QueryHeadsShareKvHeadsInGroups) {
  OneOp op(1, 4, {1, 2, 3, 4});
  const Builder layer = op.b().InLayer(0);
  const ValueRef kv = op.b().Emit(Op::kSlice, {op.x()}, SliceAttrs{.begin = 1, .size = 2}).front();
  const ValueRef cache = KvUpdate(layer, layer.Cache({.kv_heads = 2, .head_dim = 1}), kv, kv);
  const ValueRef y = Attention(layer, op.x(), cache, {.heads = 4, .kv_heads = 2, .head_dim = 1, .scale = 1});
  ExpectNear(op.ValueOf(y), {2, 2, 3, 3});
}

TEST(Interpreter, SampleTakesTheLowestOfTheMostLikelyIds) {
  OneOp op(2, 3, {1, 7, 7, 0, -1, -2});
  const ValueRef logits = GatherRows(op.b(), op.x());
  const Sampled sampled = Sample(op.b(), logits);
  EXPECT_EQ(op.Run()[static_cast<size_t>(sampled.ids.id)].i32, (std::vector<int32_t>{1, 0}));
}

TEST(Interpreter, RefusesStepsThatDoNotFit) {
  OneOp op(2, 2, {1, 2, 3, 4});
  const Builder layer = op.b().InLayer(0);
  (void)Attention(layer, op.x(), KvUpdate(layer, layer.Cache({.kv_heads = 1, .head_dim = 2}), op.x(), op.x()),
                  {.heads = 1, .kv_heads = 1, .head_dim = 2, .scale = 1});
  EXPECT_THROW(op.Run({0, 8}), Error);           // outside of the context
  EXPECT_THROW(op.Run({-1, 0}), Error);
  EXPECT_THROW(op.Run({0, 2}), Error);           // position 1 is nowhere
  EXPECT_THROW(op.Run({0, 1, 2}), Error);        // three positions for two tokens
  EXPECT_NO_THROW(op.Run({1, 2}));               // position 0 is there from before
}

TEST(Interpreter, RefusesATensorOfAnotherSize) {
  Graph graph = SmallGraph();
  EXPECT_THROW(Interpreter(graph, [](const std::string&) { return std::vector<float>(3); }), Error);
}

TEST(Interpreter, RefusesAGraphThatIsNotSound) {
  Graph graph = SmallGraph();
  graph.nodes.pop_back();
  EXPECT_THROW(Interpreter(graph, [](const std::string&) { return std::vector<float>(); }), std::logic_error);
}

}  // namespace intaglio::graph
