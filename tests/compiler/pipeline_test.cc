#include "compiler/pipeline.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "compiler/passes/passes.h"
#include "graph/print.h"
#include "graph/verify.h"
#include "tests/compiler/fixture_model.h"

namespace intaglio::compiler {
namespace {

using graph::Graph;
using graph::Op;

class EachPipeline : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Pipeline, EachPipeline, testing::ValuesIn(kFixtures), [](const auto& info) { return TestName(info.param); });

TEST_P(EachPipeline, MeansTheSameAfterEveryPass) {
  const FixtureModel fixture(GetParam());
  const Graph original = fixture.Build(Phase::kContextEncoding, 20, 20);
  const std::vector<float> expected = Logits(fixture, original);
  for (auto* pass : {FuseGateUp, FuseQkv, FuseNormRope, FuseResidual, AliasKv}) {
    Graph graph = original;
    pass(graph, {});
    RemoveDeadCode(graph, {});
    graph::Verify(graph, "a pass");
    ExpectSameNumbers(Logits(fixture, graph), expected);
  }
}

TEST_P(EachPipeline, MeansTheSameAfterAllPassesWithProbesOrWithout) {
  const FixtureModel fixture(GetParam());
  const Graph original = fixture.Build(Phase::kContextEncoding, 20, 3);
  for (bool keep_probes : {false, true}) {
    Graph graph = original;
    RunPipeline(graph, {.keep_probes = keep_probes});
    ExpectSameNumbers(Logits(fixture, graph), Logits(fixture, original));
    if (keep_probes) { EXPECT_EQ(graph.probes.size(), original.probes.size()); }
  }
}

// The steps of a layer that no fusion may leave behind.
TEST_P(EachPipeline, LeavesNothingToFuse) {
  const FixtureModel fixture(GetParam());
  Graph graph = fixture.Build(Phase::kTokenGeneration, 2, 2);
  RunPipeline(graph, {});
  const auto layers = static_cast<size_t>(fixture.model->num_layers());
  EXPECT_EQ(CountOps(graph, Op::kMatMul), 4 * layers + 1) << graph::Print(graph);   // qkv, o, gate_up, down, and the head
  EXPECT_EQ(CountOps(graph, Op::kMul) + CountOps(graph, Op::kSilu) + CountOps(graph, Op::kGeluTanh), 0u);
  EXPECT_EQ(CountOps(graph, Op::kRope) + CountOps(graph, Op::kNormRope), 2 * layers);
  EXPECT_TRUE(CountOps(graph, Op::kRope) == 0 || CountOps(graph, Op::kNormRope) == 0);
}

TEST_P(EachPipeline, ReadsTheSameTensorsAfterwards) {
  const FixtureModel fixture(GetParam());
  Graph graph = fixture.Build(Phase::kTokenGeneration, 2, 2);
  const auto sources = [](const Graph& g) {
    std::vector<std::string> lines;
    for (const graph::Weight& weight : g.weights) {
      for (const graph::WeightSource& source : weight.sources) lines.push_back(source.name + testing::PrintToString(source.shard));
    }
    std::ranges::sort(lines);
    return lines;
  };
  const auto before = sources(graph);
  RunPipeline(graph, {});
  EXPECT_EQ(sources(graph), before);
}

TEST_P(EachPipeline, ChangesNothingWhenRunAgain) {
  const FixtureModel fixture(GetParam());
  Graph graph = fixture.Build(Phase::kSpeculation, 6, 6);
  RunPipeline(graph, {});
  const std::string once = graph::Print(graph);
  RunPipeline(graph, {});
  EXPECT_EQ(graph::Print(graph), once);
}

}  // namespace
}  // namespace intaglio::compiler
