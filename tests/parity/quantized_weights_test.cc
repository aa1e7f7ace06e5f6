// Bundles of int8 and int4: one answer whatever the steps, threads, levels and ranks, close to what the oracle computes with the very weights
// that the bundle holds. Activations are quantised too, so bits are compared between runs alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "checkpoint/checkpoint.h"
#include "compiler/weight_formats.h"
#include "compiler/weight_packer.h"
#include "graph/interpreter.h"
#include "kernels/isa.h"
#include "models/decoder.h"
#include "tests/parity/exported.h"

namespace intaglio::test {
namespace {

struct Case {
  std::string fixture, format;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.fixture << ' ' << c.format; }

class QuantizedWeights : public testing::TestWithParam<Case> {
 protected:
  [[nodiscard]] ExportOptions Options(const std::string& name, int32_t tp = 1) const {
    ExportOptions options;
    options.source = FixturePath(GetParam().fixture);
    options.output = folder_.path() / name;
    options.weights = "f32", options.keep = {"*=" + GetParam().format};   // tiny matrices too
    options.max_context = 192, options.prefill_buckets = {16}, options.batch_buckets = {1};
    options.tp_degree = tp;
    return options;
  }
  [[nodiscard]] std::vector<float> Answer(const std::filesystem::path& bundle, int32_t chunk, const std::string& isa = {}) const {
    const auto engine = Engine::Load(bundle, {.threads = 2, .isa = isa, .verify_checksums = false});
    return AppendPrompt(*engine, engine->AcquireSlot().value(), tokens(), chunk);
  }
  [[nodiscard]] std::vector<int32_t> tokens() const {
    std::vector<int32_t> tokens = LongSequence(GetParam().fixture);
    tokens.resize(16);
    return tokens;
  }
  // By the oracle, with the checkpoint's weights or those of the bundle.
  [[nodiscard]] std::vector<float> Oracle(bool is_rounded) const {
    const auto checkpoint = checkpoint::Checkpoint::Open(FixturePath(GetParam().fixture));
    const compiler::WeightFormats formats(Options("none"), *checkpoint);
    const auto model = models::ParseModel(checkpoint::HfConfig::Parse(checkpoint->config_json(), GetParam().fixture));
    const graph::Graph graph = model->Build(
        {.rows = 16, .outputs = 1, .max_context = 192, .formats = [&](const graph::Weight& weight) { return formats.Of(weight); }});
    const auto read = [&](const std::string& name) {
      const Shape shape = checkpoint->shape(name);
      std::vector<float> elements(static_cast<size_t>(shape.num_elements()));
      checkpoint->ReadRows(name, 0, shape.size() == 1 ? 1 : shape.num_elements() / shape.back(), elements);
      return elements;
    };
    const auto round = [&](const graph::Weight& weight, std::span<float> elements) { compiler::RoundAsStored(weight, *checkpoint, elements); };
    const graph::Interpreter interpreter(graph, read, is_rounded ? graph::Interpreter::RoundWeight(round) : nullptr);
    std::vector<int32_t> positions(16), slots(16), output_rows{15};
    for (int32_t i = 0; i < 16; ++i) positions[static_cast<size_t>(i)] = i;
    const std::vector<int32_t> ids = tokens();
    graph::KvState kv;
    return interpreter.Run({.tokens = ids, .positions = positions, .slots = slots, .output_rows = output_rows}, kv)[static_cast<size_t>(graph.logits)].f32;
  }

  TemporaryFolder folder_;
};

// Root mean square of the difference, by that of `b`.
double Distance(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < b.size(); ++i) difference += (double{a.at(i)} - b[i]) * (double{a[i]} - b[i]), size += double{b[i]} * b[i];
  return std::sqrt(difference / size);
}

TEST_P(QuantizedWeights, GiveOneAnswerWhateverStepsAndLevel) {
  (void)Export(Options("b"));
  const std::vector<float> answer = Answer(folder_.path() / "b", 16);
  EXPECT_TRUE(IsSame(Answer(folder_.path() / "b", 3), answer));
  EXPECT_TRUE(IsSame(Answer(folder_.path() / "b", 1), answer));
  EXPECT_TRUE(IsSame(Answer(folder_.path() / "b", 16, "scalar"), answer));
}

TEST_P(QuantizedWeights, GiveTheSameBytesEachTime) {
  (void)Export(Options("a"));
  (void)Export(Options("b"));
  for (const char* name : {"weights.rank0.bin", "plan.bin", "manifest.json"}) EXPECT_EQ(ReadFile(folder_.path() / "a" / name), ReadFile(folder_.path() / "b" / name)) << name;
}

// An eighth of a percent is what int8 activations do to a product of independent numbers; layers add theirs up.
TEST_P(QuantizedWeights, AreThoseThatTheOracleComputesWith) {
  (void)Export(Options("b"));
  const std::vector<float> answer = Answer(folder_.path() / "b", 16), rounded = Oracle(/*is_rounded=*/true), exact = Oracle(/*is_rounded=*/false);
  EXPECT_LT(Distance(answer, rounded), 0.03);
  EXPECT_TRUE(GetParam().format.starts_with("int8") || Distance(rounded, exact) > 2 * Distance(answer, rounded))
      << Distance(rounded, exact) << " and " << Distance(answer, rounded);
}

INSTANTIATE_TEST_SUITE_P(Parity, QuantizedWeights,
                         testing::Values(Case{"llama-tiny", "int8"}, Case{"llama-tiny", "int4g32"}, Case{"gemma3-text-tiny", "int4g64"},
                                         Case{"qwen3-moe-tiny", "int8g64"}, Case{"deepseek-v3-tiny", "int8g128"}, Case{"gpt-oss-tiny", "int4g32"}),
                         [](const auto& info) {
                           std::string name = info.param.fixture + "_" + info.param.format;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

TEST(QuantizedRanks, GiveTheAnswerOfOne) {
  const TemporaryFolder folder;
  ExportOptions options;
  options.source = FixturePath("llama-tiny");
  options.weights = "f32", options.keep = {"*=int4g32"};
  options.max_context = 192, options.prefill_buckets = {16}, options.batch_buckets = {1};
  std::vector<int32_t> tokens = LongSequence("llama-tiny");
  tokens.resize(40);
  std::vector<std::vector<float>> answers;
  for (int32_t ranks : {1, 2, 4}) {
    options.tp_degree = ranks, options.output = folder.path() / std::to_string(ranks);
    (void)Export(options);
    const auto engine = Engine::Load(options.output, {.threads = 2, .isa = {}, .verify_checksums = false});
    answers.push_back(AppendPrompt(*engine, engine->AcquireSlot().value(), tokens, 16));
  }
  EXPECT_TRUE(IsSame(answers[0], answers[1]));
  EXPECT_TRUE(IsSame(answers[0], answers[2]));
}

}  // namespace
}  // namespace intaglio::test
