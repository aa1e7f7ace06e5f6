// Bundles against captures, and the gate of an export. A fixture's own goldens are the capture.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/fail.h"
#include "intaglio/inspect.h"
#include "intaglio/parity.h"
#include "parity/temporary_directory.h"
#include "tests/parity/exported.h"

namespace intaglio::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

const ParityCheck* Find(const ParityReport& report, const std::string& name) {
  const auto check = std::ranges::find(report.checks, name, &ParityCheck::name);
  return check == report.checks.end() ? nullptr : &*check;
}

ExportOptions Options(const std::string& fixture, const fs::path& output) {
  return {.source = FixturePath(fixture),
          .output = output,
          .weights = "f32",
          .max_context = 192,
          .max_batch = 1,
          .prefill_buckets = {16},
          .batch_buckets = {1},
          .on_progress = {}};
}

// The goldens of llama-tiny, one token of a greedy path changed.
class WrongCapture {
 public:
  explicit WrongCapture(int32_t token) {
    fs::copy_file(FixturePath("llama-tiny") / "golden.safetensors", path() / "golden.safetensors");
    Json golden = Json::parse(std::ifstream(FixturePath("llama-tiny") / "golden.json"));
    golden["prompts"][2]["greedy_ids"][11] = token;
    std::ofstream(path() / "golden.json") << golden;
  }
  [[nodiscard]] const fs::path& path() const { return directory_.path(); }

 private:
  const parity::TemporaryDirectory directory_;
};

TEST(CompareBundle, WithoutProbesComparesWhatComesOutAndSaysSo) {
  const ParityReport report = CompareBundle(ExportedBundle("llama-tiny", "f32"), FixturePath("llama-tiny"), {.isa = {}, .threads = 2});
  EXPECT_TRUE(report.is_ok()) << ToMarkdown({&report, 1}, false);
  for (const char* name : {"logits, top 5", "logits, all", "KL divergence", "p0.greedy_ids", "p2.teacher_forced", "p1.top_logprobs", "tokenizer"})
    EXPECT_NE(Find(report, name), nullptr) << name;
  EXPECT_EQ(Find(report, "p1.layer0.attn_out"), nullptr);
  EXPECT_TRUE(report.drift.empty());
  ASSERT_EQ(report.notes.size(), 1u);
  EXPECT_NE(report.notes.front().find("--keep-probes"), std::string::npos);
  EXPECT_EQ(report.first_divergence, -1);
}

TEST(CompareBundle, WithProbesComparesInnerValuesAndMeasuresDrift) {
  const parity::TemporaryDirectory directory;
  ExportOptions options = Options("qwen3-moe-tiny", directory.path() / "bundle");
  options.keep_probes = true;
  (void)Export(options);
  const ParityReport report = CompareBundle(options.output, FixturePath("qwen3-moe-tiny"), {.isa = {}, .threads = 2});
  EXPECT_TRUE(report.is_ok()) << ToMarkdown({&report, 1}, false);
  EXPECT_NE(Find(report, "p1.layer0.mlp_out"), nullptr);
  EXPECT_NE(Find(report, "p1.layer0.expert_ids"), nullptr);
  ASSERT_EQ(report.drift.size(), 5u);   // embed, three layers, final_norm
  EXPECT_EQ(report.drift.front().error, 0);
  EXPECT_LT(report.drift.back().error, 1e-5);
}

TEST(CompareBundle, OtherWeightsThanTheGoldensAreHeldToAMean) {
  const ParityReport report = CompareBundle(ExportedBundle("llama-tiny", "bf16"), FixturePath("llama-tiny"), {.isa = {}, .threads = 2});
  EXPECT_TRUE(report.is_ok()) << ToMarkdown({&report, 1}, false);
  EXPECT_NE(Find(report, "logits (mean error)"), nullptr);
  EXPECT_EQ(Find(report, "p0.greedy_ids"), nullptr);
  EXPECT_GT(report.divergence.mean, 1e-6);   // told all the same
}

TEST(CompareBundle, FindsTheFirstTokenThatDiffers) {
  const WrongCapture capture(5);
  const ParityReport report = CompareBundle(ExportedBundle("llama-tiny", "f32"), capture.path(), {.isa = {}, .threads = 2});
  EXPECT_FALSE(report.is_ok());
  EXPECT_EQ(report.first_divergence, 11);
  EXPECT_NE(report.first_divergence_where.find("p2"), std::string::npos);
  EXPECT_FALSE(Find(report, "p2.greedy_ids")->is_ok);
  EXPECT_FALSE(Find(report, "p2.teacher_forced")->is_ok);
  EXPECT_TRUE(Find(report, "p1.greedy_ids")->is_ok);
}

TEST(CompareBundle, ATighterToleranceOfABandIsObeyed) {
  ParityOptions options{.isa = {}, .threads = 2};
  options.logit_tolerances = {1e-9, 1, 1, 1};
  const ParityReport report = CompareBundle(ExportedBundle("llama-tiny", "f32"), FixturePath("llama-tiny"), options);
  EXPECT_FALSE(Find(report, "logits, top 5")->is_ok);
  EXPECT_TRUE(Find(report, "logits, all")->is_ok);
}

TEST(CompareBundle, ACaptureThatCannotBeOfThisBundleIsAnError) {
  const WrongCapture capture(1 << 20);
  try {
    (void)CompareBundle(ExportedBundle("llama-tiny", "f32"), capture.path());
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(std::string(error.what()).find("prompt 2 has token 1048576"), std::string::npos) << error.what();
  }
  EXPECT_THROW((void)CompareBundle(ExportedBundle("llama-tiny", "f32"), FixturePath("_base")), Error);
}

TEST(CompareBundle, APromptThatTheBundleCannotHoldIsAnErrorThatSaysHowToExport) {
  const parity::TemporaryDirectory directory;
  ExportOptions options = Options("llama-tiny", directory.path() / "bundle");
  options.max_context = 32;
  (void)Export(options);
  try {
    (void)CompareBundle(options.output, FixturePath("llama-tiny"));
    FAIL() << "no error";
  } catch (const Error& error) { EXPECT_NE(std::string(error.what()).find("--max-context 70"), std::string::npos) << error.what(); }
}

class Gate : public testing::Test {
 protected:
  // Exports llama-tiny, judged by a capture.
  ExportReport ExportWith(const fs::path& capture) {
    ExportOptions options = Options("llama-tiny", bundle_);
    options.gate = [&](const fs::path& bundle) { return Summarise(CompareBundle(bundle, capture, {.isa = {}, .threads = 2})); };
    return Export(options);
  }

  const parity::TemporaryDirectory directory_;
  const fs::path bundle_ = directory_.path() / "bundle";
};

TEST_F(Gate, TheVerdictIsInTheManifestAndInspectShowsIt) {
  const ExportReport report = ExportWith(FixturePath("llama-tiny"));
  ASSERT_TRUE(report.parity.has_value());
  EXPECT_TRUE(report.parity->is_ok);
  EXPECT_NE(Engine::Load(bundle_, {.threads = 1, .isa = {}}), nullptr);
  const std::string text = Inspect(bundle_, InspectView::kSummary);
  EXPECT_NE(text.find("Parity with Transformers: ok"), std::string::npos) << text;
  const Json json = Json::parse(Inspect(bundle_, InspectView::kJson))["manifest"]["parity"];
  EXPECT_EQ(json["capture"], "llama-tiny");
  EXPECT_EQ(json["ok"], true);
  EXPECT_EQ(json["capture_digest"].get<std::string>().size(), 32u);
  EXPECT_GE(json["checks"].size(), 8u);
}

TEST_F(Gate, ABundleThatFailedLoadsOnlyOnRequest) {
  const WrongCapture capture(5);
  const ExportReport report = ExportWith(capture.path());
  EXPECT_FALSE(report.parity->is_ok);
  try {
    (void)Engine::Load(bundle_, {.threads = 1, .isa = {}});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
    EXPECT_NE(std::string(error.what()).find("greedy_ids (37, allowed 0)"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("--allow-failed-parity"), std::string::npos) << error.what();
  }
  EXPECT_NE(Engine::Load(bundle_, {.threads = 1, .isa = {}, .allow_failed_parity = true}), nullptr);
  EXPECT_NE(Inspect(bundle_, InspectView::kSummary).find("FAILED"), std::string::npos);
}

TEST_F(Gate, AGateThatThrowsLeavesNoBundle) {
  EXPECT_THROW((void)ExportWith(FixturePath("_base")), Error);
  EXPECT_TRUE(fs::is_empty(directory_.path()));
}

TEST_F(Gate, WithoutOneTheManifestSaysNothing) {
  (void)Export(Options("llama-tiny", bundle_));
  EXPECT_FALSE(Json::parse(Inspect(bundle_, InspectView::kJson))["manifest"].contains("parity"));
}

}  // namespace
}  // namespace intaglio::test
