// Embedders: what they compute against Transformers, and one answer: the bits of a text's vector are the same whatever else shares its step,
// whatever bucket, chunk, thread count or instruction set computed it.
#include <gtest/gtest.h>

#include <cstring>

#include "base/fail.h"
#include "intaglio/embed.h"
#include "intaglio/parity.h"
#include "kernels/isa.h"
#include "tests/base/temporary_folder.h"
#include "tests/parity/digests.h"
#include "tests/parity/exported.h"

namespace intaglio::test {
namespace {

using Texts = std::vector<std::vector<int32_t>>;
using Vectors = std::vector<std::vector<float>>;

std::string NameOf(std::string name) {
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

class Embedder : public testing::TestWithParam<std::string> {};

TEST_P(Embedder, F32WeightsComputeWhatTransformersComputes) {
  for (kernels::Isa isa : kernels::SupportedIsas()) {
    const ParityReport report = CompareFixture(FixturePath(GetParam()), {.dtype = "f32", .isa = std::string(Name(isa)), .threads = 2});
    EXPECT_TRUE(report.is_ok()) << ToMarkdown({&report, 1}, /*only_summary=*/false);
    EXPECT_GE(report.checks.size(), 4u);
  }
}

TEST_P(Embedder, Bf16WeightsTurnVectorsOnlyALittle) {
  const ParityReport report = CompareFixture(FixturePath(GetParam()), {.dtype = "bf16", .isa = {}, .threads = 2});
  EXPECT_TRUE(report.is_ok()) << ToMarkdown({&report, 1}, /*only_summary=*/false);
}

// A bundle for texts of up to 80 tokens, three of them at once. `buckets` ends with 80 where a text must be whole in a step.
std::filesystem::path Exported(const std::string& fixture, const std::string& dtype, std::vector<int32_t> buckets, int32_t tp_degree = 1) {
  static const TemporaryFolder root;
  const std::filesystem::path bundle =
      root.path() / (fixture + "." + dtype + "." + std::to_string(buckets.front()) + "." + std::to_string(tp_degree));
  if (!std::filesystem::exists(bundle)) {
    ExportOptions options;
    options.source = FixturePath(fixture), options.output = bundle, options.weights = dtype;
    options.max_context = 80, options.max_batch = 3, options.prefill_buckets = std::move(buckets);
    options.tp_degree = tp_degree;
    Export(options);
  }
  return bundle;
}

// The fixture's texts, and longer and shorter ones made of the same ids.
Texts TextsOf(const std::string& fixture) {
  Texts texts;
  for (const parity::GoldenEmbedding& text : parity::ReadGolden(FixturePath(fixture)).embeddings) texts.push_back(text.input_ids);
  const std::vector<int32_t> longest = *std::ranges::max_element(texts, {}, &std::vector<int32_t>::size);
  for (size_t size : {1, 9, 17, 64, 65, 80}) {
    texts.emplace_back();
    for (size_t i = 0; i < size; ++i) texts.back().push_back(longest[(i * 5 + size) % longest.size()]);
  }
  return texts;
}

struct Case {
  std::string fixture, dtype;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.fixture << ' ' << c.dtype; }

class OneVector : public testing::TestWithParam<Case> {
 protected:
  OneVector() : texts_(TextsOf(GetParam().fixture)) {}

  [[nodiscard]] std::unique_ptr<Engine> Load(int threads = 2, const std::string& isa = {}, std::vector<int32_t> buckets = {80}) const {
    const EngineOptions options{.threads = threads, .isa = isa, .verify_checksums = false};
    return Engine::Load(Exported(GetParam().fixture, GetParam().dtype, std::move(buckets)), options);
  }
  // Each text alone.
  [[nodiscard]] Vectors Reference() const {
    const auto engine = Load();
    Vectors vectors;
    for (const std::vector<int32_t>& text : texts_) vectors.push_back(Embed(*engine, {&text, 1}).front());
    return vectors;
  }
  static void ExpectSame(const Vectors& expected, const Vectors& actual) {
    ASSERT_EQ(actual.size(), expected.size());
    for (size_t i = 0; i < actual.size(); ++i) {
      ASSERT_EQ(actual[i].size(), expected[i].size());
      ASSERT_EQ(std::memcmp(actual[i].data(), expected[i].data(), actual[i].size() * sizeof(float)), 0) << "text " << i;
    }
  }

  Texts texts_;
};

TEST_P(OneVector, TextsThatShareAStepChangeNothing) {
  const Vectors reference = Reference();
  ExpectSame(reference, Embed(*Load(), texts_));
  Texts reversed(texts_.rbegin(), texts_.rend());
  Vectors vectors = Embed(*Load(), reversed);
  std::ranges::reverse(vectors);
  ExpectSame(reference, vectors);
}

TEST_P(OneVector, BucketsAndChunksDoNotMatter) {
  const Vectors reference = Reference();
  const bool is_whole = Load()->info().needs_whole_sequences;
  for (const std::vector<int32_t>& buckets : {std::vector<int32_t>{7, 24, 80}, std::vector<int32_t>{200}, std::vector<int32_t>{16}}) {
    if (is_whole && buckets.back() < 80) continue;
    SCOPED_TRACE(buckets.front());
    ExpectSame(reference, Embed(*Load(2, {}, buckets), texts_));
  }
}

TEST_P(OneVector, ThreadsDoNotMatter) {
  const Vectors reference = Reference();
  for (int threads : {1, 3}) ExpectSame(reference, Embed(*Load(threads), texts_));
}

TEST_P(OneVector, RanksDoNotMatter) {
  const Vectors reference = Reference();
  for (int32_t ranks : {2, 4, 8}) {
    SCOPED_TRACE(ranks);
    ExpectSame(reference, Embed(*Engine::Load(Exported(GetParam().fixture, GetParam().dtype, {80}, ranks), {.verify_checksums = false}), texts_));
  }
}

TEST_P(OneVector, InstructionSetsDoNotMatter) {
  const Vectors reference = Reference();
  for (kernels::Isa isa : kernels::SupportedIsas()) {
    SCOPED_TRACE(Name(isa));
    ExpectSame(reference, Embed(*Load(2, std::string(Name(isa))), texts_));
  }
}

TEST_P(OneVector, TheBitsAreThoseOfEveryOtherMachine) {
  std::vector<float> all;
  for (const std::vector<float>& vector : Reference()) all.insert(all.end(), vector.begin(), vector.end());
  ExpectDigest("embedding_digests.json", GetParam().fixture + "." + GetParam().dtype, all);
}

constexpr const char* kFixtures[] = {"qwen3-embedding-tiny", "gemma3-embedding-tiny", "bert-embedding-tiny"};

std::vector<Case> AllCases() {
  std::vector<Case> cases;
  for (const char* fixture : kFixtures) {
    for (const char* dtype : {"f32", "bf16"}) cases.push_back({fixture, dtype});
  }
  return cases;
}
INSTANTIATE_TEST_SUITE_P(Fixtures, Embedder, testing::ValuesIn(std::vector<std::string>(std::begin(kFixtures), std::end(kFixtures))),
                         [](const auto& info) { return NameOf(info.param); });
INSTANTIATE_TEST_SUITE_P(Fixtures, OneVector, testing::ValuesIn(AllCases()),
                         [](const auto& info) { return NameOf(info.param.fixture + "_" + info.param.dtype); });

TEST(Embed, RefusesWhatABundleCannotEmbed) {
  const auto engine = Engine::Load(Exported("bert-embedding-tiny", "f32", {80}), {.threads = 1});
  const auto refusal = [&](const std::vector<int32_t>& text) -> std::string {
    try {
      (void)Embed(*engine, {&text, 1});
    } catch (const Error& error) { return error.what(); }
    return "no error";
  };
  EXPECT_NE(refusal({}).find("has no tokens"), std::string::npos);
  EXPECT_NE(refusal(std::vector<int32_t>(81, 5)).find("export with --max-context 81"), std::string::npos);
  EXPECT_NE(refusal({5000}).find("outside the vocabulary"), std::string::npos);
  EXPECT_TRUE(Embed(*engine, {}).empty());
}

TEST(Embed, RefusesABundleThatGenerates) {
  const auto engine = Engine::Load(ExportedBundle("qwen3-tiny", "f32"), {.threads = 1});
  const std::vector<int32_t> text{1, 2, 3};
  EXPECT_THROW((void)Embed(*engine, {&text, 1}), Error);
}

TEST(Embed, AnEmbedderGeneratesNothing) {
  const auto engine = Engine::Load(Exported("qwen3-embedding-tiny", "f32", {80}), {.threads = 1});
  const int32_t slot = engine->AcquireSlot().value();
  const int32_t token = 5;
  const StepSequence sequence{.slot = slot, .tokens = {&token, 1}, .outputs = 1, .sampling = nullptr};
  EXPECT_THROW((void)engine->Step(StepKind::kTokenGeneration, {&sequence, 1}), Error);
  GenerateRequest request;
  request.prompt = {5};
  EXPECT_THROW((void)Generate(*engine, request), Error);
}

// What comes before a row is not in the step any more, and what comes after it would not have been seen.
TEST(Embed, ATextThatMustBeWholeCannotBeContinued) {
  const auto engine = Engine::Load(Exported("bert-embedding-tiny", "f32", {80}), {.threads = 1});
  const int32_t slot = engine->AcquireSlot().value();
  const std::vector<int32_t> tokens{2, 5, 3};
  const StepSequence sequence{.slot = slot, .tokens = tokens, .outputs = 1, .sampling = nullptr};
  EXPECT_EQ(engine->Step(StepKind::kContextEncoding, {&sequence, 1}).front().embedding.size(), 64u);
  EXPECT_THROW((void)engine->Step(StepKind::kContextEncoding, {&sequence, 1}), Error);
  engine->Truncate(slot, 0);
  EXPECT_EQ(engine->Step(StepKind::kContextEncoding, {&sequence, 1}).size(), 1u);
}

}  // namespace
}  // namespace intaglio::test
