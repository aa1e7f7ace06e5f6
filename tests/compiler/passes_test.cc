// What each pass makes of one layer, by the text form of its graph, and what it must leave alone.
#include "compiler/passes/passes.h"

#include <gtest/gtest.h>

#include <memory>

#include "graph/builder.h"
#include "graph/print.h"
#include "graph/verify.h"
#include "tests/compiler/fixture_model.h"

namespace intaglio::compiler {
namespace {

using graph::Builder;
using graph::Graph;
using graph::Layout;
using graph::Op;
using graph::Shard;
using graph::ValueRef;

constexpr graph::Segments kSegments{0, 1, 2, 3, 4, 5, 6, 7, 8};

// A graph of 2 rows of width 8 under construction, from embedding to sampler.
class SmallGraph {
 public:
  explicit SmallGraph(const graph::RankPlace& place = {}, graph::FormatPolicy formats = {}) {
    graph_.place = place, graph_.formats = std::move(formats);
    graph_.rows = graph_.outputs = 2, graph_.max_context = 16;
    root_ = std::make_unique<Builder>(graph_);
    table_ = root_->Weight("table", {5, 8}, Shard::kVocab, Layout::kMatmul);
    x_ = Embedding(root_->In("embed"), table_, 1.0f);
    if (!place.is_alone()) x_ = AllReduce(root_->In("embed"), x_);
  }
  [[nodiscard]] Builder In(const std::string& scope) const { return root_->InLayer(0).In(scope); }
  [[nodiscard]] ValueRef x() const { return x_; }
  ValueRef Linear(const std::string& scope, ValueRef x, Shard shard, bool has_bias = false) const {
    const Builder b = In(scope);
    graph::MatMulOperands operands{.x = x, .weight = b.Weight("weight", {8, 8}, shard, Layout::kMatmul)};
    if (has_bias) operands.bias = b.Weight("bias", {8}, shard, Layout::kVector);
    return MatMul(b, operands, kSegments);
  }
  ValueRef Norm(const std::string& scope, ValueRef x, int64_t width) const {
    return RmsNorm(In(scope), x, In(scope).Weight("weight", {width}, Shard::kReplicated, Layout::kVector), {.eps = 1e-6f, .width = width});
  }
  ValueRef Rotated(ValueRef x) const {
    const ValueRef rope = root_->Table("rope", {16, 4}, std::make_shared<const std::vector<float>>(16 * 4, 0.5f));
    return Rope(In("attn"), x, rope, {.head_dim = 4, .rotary_dim = 4});
  }
  // Ends the graph with `y`, applies the pass and returns the nodes' lines between embedding and gathering.
  std::string After(void (*pass)(Graph&, const PassOptions&), ValueRef y, bool keep_probes = false) {
    graph_.logits = MatMul(root_->In("head"), {.x = GatherRows(root_->In("gather"), y), .weight = table_}, kSegments).id;
    const graph::Sampled sampled = Sample(root_->In("sampler"), {&graph_, graph_.logits});
    graph_.ids = sampled.ids.id, graph_.logprobs = sampled.logprobs.id;
    graph::Verify(graph_, "building");
    pass(graph_, {.keep_probes = keep_probes});
    RemoveDeadCode(graph_, {.keep_probes = keep_probes});
    graph::Verify(graph_, "the pass");
    std::string ops;
    for (const graph::Node& node : graph_.nodes) {
      if (node.scope.starts_with("layers.0.")) ops += std::string(ops.empty() ? "" : " ") + std::string(Name(node.op));
    }
    return ops;
  }
  [[nodiscard]] const Graph& graph() const { return graph_; }

 private:
  Graph graph_;
  std::unique_ptr<Builder> root_;
  ValueRef table_, x_;
};

ValueRef Sum(const SmallGraph& g, ValueRef a, ValueRef b) { return Add(g.In("sum"), a, b); }

// q, k, v of one input, added up.
ValueRef Qkv(const SmallGraph& g, bool v_has_bias) {
  const ValueRef q = g.Linear("attn.q", g.x(), Shard::kQueryHeads, true), k = g.Linear("attn.k", g.x(), Shard::kKvHeads, true);
  const ValueRef v = g.Linear("attn.v", g.x(), Shard::kKvHeads, v_has_bias);
  return Sum(g, Sum(g, q, k), v);
}

TEST(FuseQkv, StacksWeightsAndBiasesAndSlicesTheProduct) {
  SmallGraph g;
  EXPECT_EQ(g.After(FuseQkv, Qkv(g, true)), "matmul slice slice slice add add");
  const std::string text = Print(g.graph());
  EXPECT_NE(text.find("layers.0.attn.qkv_proj.weight [24, 8] matmul <- layers.0.attn.q.weight [8, 8] query_heads, layers.0.attn.k.weight [8, 8] "
                      "kv_heads, layers.0.attn.v.weight [8, 8] kv_heads"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("layers.0.attn.qkv_proj.bias [24] vector"), std::string::npos) << text;
  EXPECT_NE(text.find("{columns 8 to 16}  # layers.0.attn.k"), std::string::npos) << text;
  EXPECT_EQ(FindWeight(g.graph(), "layers.0.attn.q.weight"), nullptr);
}

TEST(FuseQkv, LeavesOneWithoutABiasAlone) {
  SmallGraph g;
  EXPECT_EQ(g.After(FuseQkv, Qkv(g, false)), "matmul slice slice matmul add add");
}

TEST(FuseQkv, StacksThoseOfOneFormat) {
  SmallGraph g({}, [](const graph::Weight& weight) {
    return graph::WeightFormat{.dtype = weight.name == "layers.0.attn.v.weight" ? DType::kQ8_0 : DType::kQ5_0, .unit_k = 64};
  });
  EXPECT_EQ(g.After(FuseQkv, Qkv(g, true)), "matmul slice slice matmul add add");
  const graph::Weight* weight = FindWeight(g.graph(), "layers.0.attn.qkv_proj.weight");
  ASSERT_NE(weight, nullptr);
  EXPECT_EQ(weight->sources.size(), 2u);
  EXPECT_EQ(weight->dtype, DType::kQ5_0);
}

TEST(FuseQkv, NamesTheStacksOfTwoFormatsApart) {
  SmallGraph g({}, [](const graph::Weight& weight) {
    const bool is_key = weight.name == "layers.0.attn.k.weight" || weight.name == "layers.0.attn.v.weight";
    return graph::WeightFormat{.dtype = is_key ? DType::kQ8_0 : DType::kQ5_0, .unit_k = 64};
  });
  const ValueRef gate = g.Linear("attn.gate", g.x(), Shard::kQueryHeads, true);
  EXPECT_EQ(g.After(FuseQkv, Sum(g, Qkv(g, true), gate)), "matmul slice slice matmul slice slice add add add");
  EXPECT_NE(FindWeight(g.graph(), "layers.0.attn.qkv_proj.weight"), nullptr);
  EXPECT_NE(FindWeight(g.graph(), "layers.0.attn.qkv_proj_q5_0.weight"), nullptr);
}

TEST(FuseQkv, LeavesMatmulsOfOtherInputsAndOtherShardsAlone) {
  SmallGraph g;
  const ValueRef q = g.Linear("attn.q", g.x(), Shard::kQueryHeads), k = g.Linear("attn.k", q, Shard::kKvHeads);
  const ValueRef gate = g.Linear("mlp.gate", g.x(), Shard::kRows), up = g.Linear("mlp.up", g.x(), Shard::kRows);
  EXPECT_EQ(g.After(FuseQkv, Sum(g, k, Sum(g, gate, up))), "matmul matmul matmul matmul add add");
}

TEST(FuseGateUp, MakesOneMatmulAndOneGatedActivation) {
  for (bool is_silu : {true, false}) {
    SmallGraph g;
    const ValueRef gate = g.Linear("mlp.gate", g.x(), Shard::kRows, true), up = g.Linear("mlp.up", g.x(), Shard::kRows, true);
    const ValueRef activated = is_silu ? Silu(g.In("mlp"), gate) : GeluTanh(g.In("mlp"), gate);
    EXPECT_EQ(g.After(FuseGateUp, Mul(g.In("mlp"), activated, up)), is_silu ? "matmul gated_silu" : "matmul gated_gelu_tanh");
    const graph::Weight* weight = FindWeight(g.graph(), "layers.0.mlp.gate_up_proj.weight");
    ASSERT_NE(weight, nullptr);
    EXPECT_EQ(weight->sources[0].name, "layers.0.mlp.gate.weight");   // the gate comes first, as gated kernels read it
    EXPECT_EQ(weight->sources[1].shard, Shard::kRows);
    EXPECT_NE(FindWeight(g.graph(), "layers.0.mlp.gate_up_proj.bias"), nullptr);
  }
}

TEST(FuseGateUp, LeavesWeightsOfTwoFormatsAlone) {
  SmallGraph g({}, [](const graph::Weight& weight) {
    return graph::WeightFormat{.dtype = weight.name == "layers.0.mlp.up.weight" ? DType::kQ8_0 : DType::kQ5_0, .unit_k = 64};
  });
  const ValueRef gate = g.Linear("mlp.gate", g.x(), Shard::kRows), up = g.Linear("mlp.up", g.x(), Shard::kRows);
  EXPECT_EQ(g.After(FuseGateUp, Mul(g.In("mlp"), Silu(g.In("mlp"), gate), up)), "matmul matmul silu mul");
}

TEST(FuseGateUp, FindsTheGateWhicheverComesFirst) {
  SmallGraph g;
  const ValueRef up = g.Linear("mlp.up", g.x(), Shard::kRows), gate = g.Linear("mlp.gate", g.x(), Shard::kRows);
  EXPECT_EQ(g.After(FuseGateUp, Mul(g.In("mlp"), up, Silu(g.In("mlp"), gate))), "matmul gated_silu");
  const graph::Weight* weight = FindWeight(g.graph(), "layers.0.mlp.gate_up_proj.weight");
  ASSERT_NE(weight, nullptr);
  EXPECT_EQ(weight->sources[0].name, "layers.0.mlp.gate.weight");
}

TEST(FuseGateUp, LeavesAGateWithAnotherReaderOrInputAlone) {
  SmallGraph g;
  const ValueRef gate = g.Linear("mlp.gate", g.x(), Shard::kRows), up = g.Linear("mlp.up", g.x(), Shard::kRows);
  EXPECT_EQ(g.After(FuseGateUp, Sum(g, gate, Mul(g.In("mlp"), Silu(g.In("mlp"), gate), up))), "matmul matmul silu mul add");
  SmallGraph h;
  const ValueRef other = h.Linear("mlp.up", h.Norm("norm", h.x(), 8), Shard::kRows);
  EXPECT_EQ(h.After(FuseGateUp, Mul(h.In("mlp"), Silu(h.In("mlp"), h.Linear("mlp.gate", h.x(), Shard::kRows)), other)),
            "rms_norm matmul matmul silu mul");
}

TEST(FuseNormRope, MakesOneWalkOverTheHeads) {
  SmallGraph g;
  EXPECT_EQ(g.After(FuseNormRope, g.Rotated(g.Norm("attn.q_norm", g.x(), 4))), "norm_rope");
  EXPECT_NE(Print(g.graph()).find("{head_dim 4, rotary_dim 4, halves, eps 1e-06}"), std::string::npos);
}

TEST(FuseNormRope, LeavesANormOfWholeRowsOrWithAnotherReaderAlone) {
  SmallGraph whole_rows;
  EXPECT_EQ(whole_rows.After(FuseNormRope, whole_rows.Rotated(whole_rows.Norm("norm", whole_rows.x(), 8))), "rms_norm rope");
  SmallGraph g;
  const ValueRef normed = g.Norm("attn.q_norm", g.x(), 4);
  EXPECT_EQ(g.After(FuseNormRope, Sum(g, normed, g.Rotated(normed))), "rms_norm rope add");
}

TEST(FuseResidual, AddsWhereTheSumIsStored) {
  for (bool is_first : {true, false}) {
    SmallGraph g;
    const ValueRef y = g.Linear("o", g.x(), Shard::kColumns, true);
    EXPECT_EQ(g.After(FuseResidual, is_first ? Sum(g, y, g.x()) : Sum(g, g.x(), y)), "matmul");
    EXPECT_NE(Print(g.graph()).find("bias, residual}"), std::string::npos) << Print(g.graph());
  }
}

// The residual is made after the matmul: the fused node must wait for it.
TEST(FuseResidual, RunsWhereTheAdditionWas) {
  SmallGraph g;
  const ValueRef y = g.Linear("o", g.x(), Shard::kColumns);
  EXPECT_EQ(g.After(FuseResidual, Sum(g, g.Norm("norm", g.x(), 8), y)), "rms_norm matmul");
}

TEST(FuseResidual, LeavesAProductWithAnotherReaderAlone) {
  SmallGraph g;
  const ValueRef y = g.Linear("o", g.x(), Shard::kColumns);
  EXPECT_EQ(g.After(FuseResidual, Sum(g, y, y)), "matmul add");
}

TEST(FuseResidual, TakesOneResidualOnly) {
  SmallGraph g;
  const ValueRef y = Sum(g, g.x(), g.Linear("o", g.x(), Shard::kColumns));
  EXPECT_EQ(g.After(FuseResidual, Sum(g, g.x(), y)), "matmul add");
}

// Kept probes hold every pass off, and only kept ones.
TEST(Passes, KeepProbesWhenAsked) {
  for (bool keep_probes : {true, false}) {
    SmallGraph g;
    const ValueRef y = g.In("o").Probe("product", g.Linear("o", g.x(), Shard::kColumns));
    EXPECT_EQ(g.After(FuseResidual, Sum(g, g.x(), y), keep_probes), keep_probes ? "matmul add" : "matmul");
    EXPECT_EQ(g.graph().probes.contains("layer0.product"), keep_probes);
    SmallGraph h;
    const ValueRef normed = h.In("q_norm").Probe("normed", h.Norm("q_norm", h.x(), 4));
    EXPECT_EQ(h.After(FuseNormRope, h.Rotated(normed), keep_probes), keep_probes ? "rms_norm rope" : "norm_rope");
    SmallGraph m;
    const ValueRef gate = m.In("mlp").Probe("gate", m.Linear("mlp.gate", m.x(), Shard::kRows)), up = m.Linear("mlp.up", m.x(), Shard::kRows);
    EXPECT_EQ(m.After(FuseGateUp, Mul(m.In("mlp"), Silu(m.In("mlp"), gate), up), keep_probes),
              keep_probes ? "matmul matmul silu mul" : "matmul gated_silu");
  }
}

TEST(RemoveDeadCode, RemovesChainsAndTheirWeights) {
  SmallGraph g;
  (void)Silu(g.In("dead"), g.Linear("dead", g.x(), Shard::kRows));
  EXPECT_EQ(g.After(RemoveDeadCode, g.Norm("norm", g.x(), 8)), "rms_norm");
  EXPECT_EQ(FindWeight(g.graph(), "layers.0.dead.weight"), nullptr);
  EXPECT_EQ(g.graph().weights.size(), 2u);
}

TEST(RemoveDeadCode, KeepsWhatAKeptProbeNames) {
  SmallGraph g;
  g.In("side").Probe("side", Silu(g.In("side"), g.x()));
  EXPECT_EQ(g.After(RemoveDeadCode, g.Norm("norm", g.x(), 8), /*keep_probes=*/true), "silu rms_norm");
}

TEST(RemoveDeadCode, KeepsUpdatesOfTheKvCache) {
  SmallGraph g;
  (void)KvUpdate(g.In("attn"), g.In("attn").Cache({.kv_heads = 2, .head_dim = 4}), g.x(), g.x());
  EXPECT_EQ(g.After(RemoveDeadCode, g.Norm("norm", g.x(), 8)), "kv_update rms_norm");
}

TEST(RemoveDeadCode, KeepsWhatARankBringsToTheOthersOnly) {
  SmallGraph g({.rank = 1, .tp_degree = 2});
  const Builder b = g.In("q_norm");
  (void)AllReduce(b, Zeros(b, 1));
  (void)AllGather(b, {}, {0, 8, 8, 8, 8, 8, 8, 8, 8});
  EXPECT_EQ(g.After(RemoveDeadCode, g.Norm("norm", g.x(), 8)), "zeros all_reduce all_gather rms_norm");
}

TEST(AliasKvDeathTest, AStaleCacheIsABug) {
  SmallGraph g;
  const ValueRef cache = g.In("attn").Cache({.kv_heads = 2, .head_dim = 4});
  (void)KvUpdate(g.In("attn"), cache, g.x(), g.x());
  Graph graph = g.graph();
  graph.nodes.push_back(
      {.op = Op::kAttention, .inputs = {g.x().id, cache.id, 2, 1}, .outputs = {}, .attrs = graph::AttentionAttrs{}, .scope = "late"});
  EXPECT_DEATH(AliasKv(graph, {}), "does not hold");
}

}  // namespace
}  // namespace intaglio::compiler
