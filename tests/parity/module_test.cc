// Single modules through compiler, kernels and device, fed with what entered them in Transformers.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "base/fail.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/hf_config.h"
#include "checkpoint/safetensors.h"
#include "compiler/passes/passes.h"
#include "graph/interpreter.h"
#include "intaglio/parity.h"
#include "kernels/isa.h"
#include "models/decoder.h"
#include "parity/golden.h"
#include "parity/module_graph.h"
#include "parity/worst_element.h"
#include "tests/parity/exported.h"

namespace intaglio::test {
namespace {

struct Case {
  std::string fixture;
  ModuleKind kind;
  int64_t layer;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.fixture << " layer " << c.layer << " kind " << static_cast<int>(c.kind); }

std::vector<float> Golden(const std::string& fixture, const std::string& value) {
  return parity::ToF32(checkpoint::SafetensorsFile::Open(FixturePath(fixture) / "golden.safetensors"), "p1." + value);
}

// Without the values that the cut left without a maker.
graph::Graph Pruned(graph::Graph graph) {
  compiler::RemoveDeadCode(graph, {.keep_probes = true});
  return graph;
}

class ModuleParity : public testing::TestWithParam<Case> {
 protected:
  [[nodiscard]] ModuleSpec Spec() const {
    return {.checkpoint = FixturePath(GetParam().fixture), .kind = GetParam().kind, .layer = GetParam().layer, .isa = {}, .threads = 2};
  }
};

TEST_P(ModuleParity, ComputesWhatTheTransformersModuleComputes) {
  const auto module = BuildModule(Spec());
  const ParityCheck check = ValidateAccuracy(*module, FixturePath(GetParam().fixture));
  EXPECT_TRUE(check.is_ok) << check.name << ": " << check.worst << " of " << check.tolerance << ' ' << check.where;
}

TEST_P(ModuleParity, GivesTheSameBitsAtEveryInstructionSetInStepsOfAnySize) {
  const std::vector<float> input = Golden(GetParam().fixture, BuildModule(Spec())->from());
  std::vector<float> expected;
  for (kernels::Isa isa : kernels::SupportedIsas()) {
    for (int32_t rows : {16, 5}) {
      ModuleSpec spec = Spec();
      spec.isa = Name(isa);
      spec.rows = rows;
      const auto module = BuildModule(spec);
      for (int run = 0; run < 2; ++run) {  // the second finds the slot that the first left
        const std::vector<float> output = module->Run(input);
        if (expected.empty()) expected = output;
        ASSERT_EQ(output.size(), expected.size());
        EXPECT_EQ(std::memcmp(output.data(), expected.data(), output.size() * sizeof(float)), 0) << spec.isa << ", steps of " << rows;
      }
    }
  }
}

TEST_P(ModuleParity, Bf16WeightsStayWithinTheirRounding) {
  ModuleSpec spec = Spec();
  spec.dtype = "bf16";
  const ParityCheck check = ValidateAccuracy(*BuildModule(spec), FixturePath(GetParam().fixture), /*tolerance=*/3e-2);
  EXPECT_TRUE(check.is_ok) << check.name << ": " << check.worst << " of " << check.tolerance << ' ' << check.where;
}

TEST_P(ModuleParity, IsTheGraphThatTheInterpreterRuns) {
  const auto checkpoint = checkpoint::Checkpoint::Open(Spec().checkpoint);
  const auto model = models::ParseModel(checkpoint::HfConfig::Parse(checkpoint->config_json(), "config.json"));
  const auto module = BuildModule(Spec());
  const std::vector<float> input = Golden(GetParam().fixture, module->from());
  const auto rows = static_cast<int64_t>(input.size()) / module->input_cols();
  const graph::Graph whole = model->Build({.phase = Phase::kContextEncoding, .rows = rows, .outputs = rows, .max_context = 64});
  const graph::Graph cut = Pruned(parity::CutModule(whole, {.from = module->from(), .to = module->to()}));
  const graph::Interpreter interpreter(cut, [&](const std::string& name) {
    const Shape shape = checkpoint->shape(name);
    std::vector<float> values(static_cast<size_t>(shape.num_elements()));
    checkpoint->ReadRows(name, 0, shape.size() == 1 ? 1 : shape.num_elements() / shape.back(), values);
    return values;
  });
  std::vector<int32_t> positions(static_cast<size_t>(rows)), zeros(positions.size());
  std::iota(positions.begin(), positions.end(), 0);
  graph::KvState kv;
  const auto values = interpreter.Run(
      {.tokens = zeros, .positions = positions, .slots = zeros, .output_rows = positions, .rope_rows = positions, .activation = input}, kv);
  const std::vector<float> output = module->Run(input);
  const parity::WorstElement worst = parity::FindWorst(output, values[static_cast<size_t>(cut.logits)].f32);
  EXPECT_LE(worst.error, 1e-5 * worst.largest) << parity::Where(worst, module->output_cols());
}

INSTANTIATE_TEST_SUITE_P(Modules, ModuleParity,
                         testing::Values(Case{"llama-tiny", ModuleKind::kAttention, 0}, Case{"llama-tiny", ModuleKind::kMlp, 0},
                                         Case{"llama-tiny", ModuleKind::kInputNorm, 0}, Case{"llama-tiny", ModuleKind::kDecoderLayer, 0},
                                         Case{"llama-tiny", ModuleKind::kDecoderLayer, 1}, Case{"llama-tiny", ModuleKind::kFinalNorm, 0},
                                         Case{"gemma3-text-tiny", ModuleKind::kAttention, 0}, Case{"gemma3-text-tiny", ModuleKind::kAttention, 1},
                                         Case{"gemma3-text-tiny", ModuleKind::kMlp, 0}, Case{"gemma3-text-tiny", ModuleKind::kDecoderLayer, 1},
                                         Case{"qwen3-moe-tiny", ModuleKind::kAttention, 0}, Case{"qwen3-moe-tiny", ModuleKind::kMlp, 0},
                                         Case{"qwen3-moe-tiny", ModuleKind::kMlp, 1}, Case{"qwen3-moe-tiny", ModuleKind::kDecoderLayer, 1},
                                         Case{"phi3-longrope-tiny", ModuleKind::kAttention, 0}));

TEST(ValidateAccuracy, AnElementThatIsOffIsFoundAndNamed) {
  const auto module = BuildModule({.checkpoint = FixturePath("llama-tiny"), .kind = ModuleKind::kMlp, .isa = {}, .threads = 1});
  std::vector<float> golden = Golden("llama-tiny", "layer0.mlp_out");
  golden[7] += 0.01f;
  const ParityCheck check = ValidateAccuracy(*module, Golden("llama-tiny", "layer0.mlp_in"), golden);
  EXPECT_FALSE(check.is_ok);
  EXPECT_NE(check.where.find("[0, 7]"), std::string::npos) << check.where;
}

TEST(BuildModule, WhatTheModelDoesNotHaveIsAnErrorThatNamesIt) {
  const auto expect_error = [](const ModuleSpec& spec, const std::string& part) {
    try {
      (void)BuildModule(spec);
      FAIL() << "no error";
    } catch (const Error& error) { EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what(); }
  };
  expect_error({.checkpoint = FixturePath("llama-tiny"), .layer = 7, .isa = {}}, "layer 7 of a model with");
  expect_error({.checkpoint = FixturePath("olmo2-tiny"), .kind = ModuleKind::kInputNorm, .isa = {}},
               "layer0.attn_in is not computed from hidden.embed");
  expect_error({.checkpoint = FixturePath("llama-tiny"), .dtype = "int8", .isa = {}}, "\"int8\"");
}

TEST(CutModule, WhatDependsOnMoreThanTheInputIsNoModule) {
  const auto checkpoint = checkpoint::Checkpoint::Open(FixturePath("llama-tiny"));
  const auto model = models::ParseModel(checkpoint::HfConfig::Parse(checkpoint->config_json(), "config.json"));
  const graph::Graph whole = model->Build({.phase = Phase::kContextEncoding, .rows = 4, .outputs = 4, .max_context = 64});
  try {
    (void)parity::CutModule(whole, {.from = "layer0.attn_in", .to = "hidden.layer0"});  // the residual goes around
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("hidden.layer0 depends on more than layer0.attn_in"), std::string::npos) << error.what();
  }
  EXPECT_THROW((void)parity::CutModule(whole, {.from = "layer0.attn_in", .to = "layer0.attn_in"}), Error);
  EXPECT_THROW((void)parity::CutModule(whole, {.from = "hidden.layer1", .to = "hidden.layer0"}), Error);
}

TEST(BuildModule, AnInputOfAnotherShapeIsAnError) {
  const auto module = BuildModule({.checkpoint = FixturePath("llama-tiny"), .isa = {}, .threads = 1, .max_tokens = 4});
  const auto width = static_cast<size_t>(module->input_cols());
  EXPECT_THROW((void)module->Run(std::vector<float>(width + 1)), Error);
  EXPECT_THROW((void)module->Run({}), Error);
  EXPECT_THROW((void)module->Run(std::vector<float>(5 * width)), Error);
  EXPECT_EQ(module->Run(std::vector<float>(4 * width, 1.0f)).size(), 4 * static_cast<size_t>(module->output_cols()));
}

}  // namespace
}  // namespace intaglio::test
