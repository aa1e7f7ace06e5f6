#include "compiler/lower_cpu.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "compiler/pipeline.h"
#include "compiler/weight_formats.h"
#include "graph/infer.h"
#include "kernels/params.h"
#include "kernels/registry.h"
#include "tests/compiler/fixture_model.h"

namespace intaglio::compiler {
namespace {

using bundle::Call;
using bundle::Operand;
using bundle::Plan;
using bundle::Space;
using graph::Graph;
using graph::Node;
using graph::Op;
using graph::ValueId;

struct Lowered {
  Graph graph;
  Plan plan;
};

Lowered Lower(Graph graph, bool keep_probes) {
  RunPipeline(graph, {.keep_probes = keep_probes});
  const WeightLayout weights = PlaceWeights({&graph, 1});
  const KvLayout kv = PlaceKvCache(graph, {.max_context = graph.max_context, .max_slots = 3, .largest_step = graph.rows});
  Plan plan = LowerToCpu(graph, {.weights = weights, .kv = kv, .keep_probes = keep_probes});
  return {std::move(graph), std::move(plan)};
}

// Walks graph and plan side by side and knows of every float of the arena which value it holds. A slice holds the value it was cut from.
class ArenaWalk {
 public:
  explicit ArenaWalk(const Lowered& lowered)
      : graph_(lowered.graph), plan_(lowered.plan), holds_(plan_.arena_bytes / sizeof(float), graph::kNoValue), origin_(graph_.values.size()) {
    for (size_t i = 0; i < origin_.size(); ++i) origin_[i] = static_cast<ValueId>(i);
  }

  void Run() {
    auto call = plan_.calls.begin();
    for (const Node& node : graph_.nodes) {
      if (node.op == Op::kSlice) {
        origin_[Index(node.outputs[0])] = origin_[Index(node.inputs[0])];
      } else {
        ASSERT_NE(call, plan_.calls.end());
        Visit(node, *call++);
      }
    }
    EXPECT_EQ(call, plan_.calls.end());
    ExpectHolds(plan_.logits, graph_.logits, "logits at the end");
    ExpectHolds(plan_.ids, graph_.ids, "ids at the end");
    ExpectHolds(plan_.logprobs, graph_.logprobs, "log-probabilities at the end");
    for (const bundle::Probe& probe : plan_.probes) ExpectHolds(probe.operand, graph_.probes.at(probe.name), probe.name + " at the end");
  }

 private:
  static size_t Index(ValueId id) { return static_cast<size_t>(id); }

  template <typename Visitor>
  void ForEachFloat(const Operand& operand, const Visitor& visit) {
    ASSERT_EQ(operand.space, Space::kArena);
    for (int64_t row = 0; row < operand.rows; ++row) {
      const size_t begin = operand.offset / sizeof(float) + static_cast<size_t>(row * operand.stride);
      ASSERT_LE(begin + static_cast<size_t>(operand.cols), holds_.size());
      for (int64_t col = 0; col < operand.cols; ++col) visit(holds_[begin + static_cast<size_t>(col)]);
    }
  }
  void ExpectHolds(const Operand& operand, ValueId value, const std::string& what) {
    EXPECT_EQ(operand.rows, graph_.value(value).shape[0]) << what;
    EXPECT_EQ(operand.cols, graph_.value(value).shape[1]) << what;
    bool is_intact = true;
    ForEachFloat(operand, [&](ValueId held) { is_intact &= held == origin_[Index(value)]; });
    EXPECT_TRUE(is_intact) << what << ": %" << value << " was overwritten";
  }
  void Write(const Operand& operand, ValueId value) {
    ForEachFloat(operand, [&](ValueId& held) { held = value; });
  }

  // The workspace is written while inputs are still read, results may replace an input.
  void Visit(const Node& node, const Call& call) {
    SCOPED_TRACE(call.label + " " + call.kernel);
    const size_t workspace = WorkspaceOf(node, call);
    if (workspace < call.operands.size() && call.operands[workspace].space != Space::kNone) Write(call.operands[workspace], graph::kNoValue);
    const bool has_two_results = node.op == Op::kRoute || node.op == Op::kExpertGroup;
    size_t next = graph::IsKvCache(graph_.value(node.outputs[0])) ? 0 : has_two_results ? 2 : 1;
    for (ValueId input : node.inputs) {
      const graph::Value& value = graph_.value(input);
      if (value.source != graph::Source::kNode && value.source != graph::Source::kWeight && value.source != graph::Source::kKvCache) continue;
      if (node.op == Op::kMatMul && input == node.inputs.back() && std::get<graph::MatMulAttrs>(node.attrs).has_residual) next = 4;
      const Operand& operand = call.operands[next++];
      if (value.source == graph::Source::kNode && !graph::IsKvCache(value)) {
        ExpectHolds(operand, input, "an operand");
        ExpectApartOrSame(operand, call.operands[0]);
        if (has_two_results) ExpectApartOrSame(operand, call.operands[1]);
      }
    }
    if (graph::IsKvCache(graph_.value(node.outputs[0]))) return;
    Write(call.operands[0], node.outputs[0]);
    if (node.op == Op::kSample) Write(call.operands[3], node.outputs[1]);
    if (has_two_results) Write(call.operands[1], node.outputs[1]);
    if (node.outputs.size() > 1) ExpectHolds(call.operands[0], node.outputs[0], "the first result");
  }

  // Position of the operand W in kernels/params.h; past the end for kernels without one.
  static size_t WorkspaceOf(const Node& node, const Call& call) {
    switch (node.op) {
      case Op::kMatMul:
        return 5;
      case Op::kExpertMatMul:
        return call.operands.size() - 1;
      case Op::kAttention:
        return 3;
      case Op::kSample:
        return 2;
      default:
        return call.operands.size();
    }
  }

  // A kernel may write over an operand it reads only if the two are the same matrix.
  static void ExpectApartOrSame(const Operand& input, const Operand& output) {
    if (output.space != Space::kArena || (input.offset == output.offset && input.stride == output.stride && input.cols == output.cols)) return;
    const auto floats = [](const Operand& o, int64_t row) { return o.offset / sizeof(float) + static_cast<uint64_t>(row * o.stride); };
    for (int64_t i = 0; i < input.rows; ++i) {
      for (int64_t o = 0; o < output.rows; ++o) {
        const bool is_apart = floats(input, i) + static_cast<uint64_t>(input.cols) <= floats(output, o) ||
                              floats(output, o) + static_cast<uint64_t>(output.cols) <= floats(input, i);
        ASSERT_TRUE(is_apart) << "row " << i << " of an input lies under row " << o << " of the output";
      }
    }
  }

  const Graph& graph_;
  const Plan& plan_;
  std::vector<ValueId> holds_;    // by float of the arena
  std::vector<ValueId> origin_;   // by value
};

class EachLowering : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(LowerToCpu, EachLowering, testing::ValuesIn(kFixtures), [](const auto& info) { return TestName(info.param); });
INSTANTIATE_TEST_SUITE_P(LowerExpertsToCpu, EachLowering, testing::Values("mixtral-tiny", "qwen3-moe-tiny"),
                         [](const auto& info) { return TestName(info.param); });

constexpr struct {
  Phase phase;
  int64_t rows, outputs;
} kSizes[]{{Phase::kContextEncoding, 16, 16}, {Phase::kContextEncoding, 7, 3}, {Phase::kTokenGeneration, 1, 1}, {Phase::kSpeculation, 6, 6}};

TEST_P(EachLowering, NoValueIsOverwrittenWhileItIsNeeded) {
  const FixtureModel fixture(GetParam());
  for (const auto& size : kSizes) {
    for (bool keep_probes : {false, true}) {
      const Lowered lowered = Lower(fixture.Build(size.phase, size.rows, size.outputs), keep_probes);
      ArenaWalk(lowered).Run();
      EXPECT_EQ(lowered.plan.probes.size(), keep_probes ? lowered.graph.probes.size() : 0);
    }
  }
}

// Kernels are the judges of operands and parameters: they run what they accept.
TEST_P(EachLowering, EveryCallIsOneThatItsKernelAccepts) {
  const FixtureModel fixture(GetParam());
  alignas(64) static std::byte somewhere[64];
  for (const auto& size : kSizes) {
    const Lowered lowered = Lower(fixture.Build(size.phase, size.rows, size.outputs), false);
    for (const Call& call : lowered.plan.calls) {
      const kernels::Kernel* kernel = kernels::FindKernel(call.kernel, kernels::Isa::kScalar);
      ASSERT_NE(kernel, nullptr) << call.kernel;
      kernels::KernelCall resolved{.operands = {}, .params = {.ints = call.ints, .floats = call.floats}};
      for (size_t i = 0; i < call.operands.size(); ++i) {
        const Operand& o = call.operands[i];
        resolved.operands[i] = {
            .data = o.space == Space::kNone ? nullptr : somewhere, .rows = o.rows, .cols = o.cols, .stride = o.stride, .dtype = o.dtype};
      }
      const char* fault = kernel->check(resolved);
      EXPECT_EQ(fault, nullptr) << call.label << ": " << fault;
    }
  }
}

TEST_P(EachLowering, RowsOfOutputsBeginWhereTheyAreGathered) {
  const FixtureModel fixture(GetParam());
  const Lowered lowered = Lower(fixture.Build(Phase::kContextEncoding, 7, 3), false);
  bool is_gathered = false;
  for (const Call& call : lowered.plan.calls) {
    is_gathered |= call.kernel == "gather_rows";
    EXPECT_EQ(call.ints[kernels::kDomain], static_cast<int64_t>(is_gathered ? kernels::Domain::kOutputs : kernels::Domain::kRows)) << call.label;
  }
}

TEST_P(EachLowering, KeepingProbesIsWhatMakesAnArenaLarger) {
  const FixtureModel fixture(GetParam());
  const Graph graph = fixture.Build(Phase::kContextEncoding, 64, 1);
  EXPECT_LT(Lower(graph, false).plan.arena_bytes, Lower(graph, true).plan.arena_bytes);
}

TEST(LowerToCpu, SlicesAndResidualsCostNoCopies) {
  const FixtureModel fixture("qwen3-tiny");
  const Lowered lowered = Lower(fixture.Build(Phase::kTokenGeneration, 2, 2), false);
  EXPECT_EQ(lowered.plan.calls.size(), lowered.graph.nodes.size() - CountOps(lowered.graph, Op::kSlice));
  for (const Call& call : lowered.plan.calls) {
    EXPECT_TRUE(call.kernel != "norm_rope" || call.operands[0] == call.operands[1]) << call.label;
    const bool adds_residual = call.label.ends_with("o_proj") || call.label.ends_with("down_proj");
    EXPECT_TRUE(!adds_residual || call.operands[0] == call.operands[4]) << call.label;
  }
}

TEST(LowerToCpu, NamesMatmulAndEmbeddingByTheirWeights) {
  const FixtureModel fixture("llama-tiny");
  Graph graph = fixture.Build(Phase::kTokenGeneration, 1, 1, EveryMatrixAs(DType::kBF16));
  RunPipeline(graph, {});
  const WeightLayout weights = PlaceWeights({&graph, 1});
  const KvLayout kv = PlaceKvCache(graph, {.max_context = 128, .max_slots = 1, .largest_step = 1});
  const Plan plan = LowerToCpu(graph, {.weights = weights, .kv = kv});
  EXPECT_EQ(plan.calls.front().kernel, "embed_bf16");
  EXPECT_EQ(std::ranges::count(plan.calls, "matmul_f32", &Call::kernel), 0);
  for (const Call& call : plan.calls) { EXPECT_TRUE(call.kernel != "rms_norm" || call.operands[2].dtype == DType::kF32) << call.label; }
}

}  // namespace
}  // namespace intaglio::compiler
