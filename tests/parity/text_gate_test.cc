// Exports that are judged by a text.
#include <gtest/gtest.h>

#include <fstream>

#include "base/fail.h"
#include "intaglio/accuracy.h"
#include "intaglio/inspect.h"
#include "parity/temporary_directory.h"
#include "tests/parity/exported.h"

namespace intaglio::test {
namespace {

namespace fs = std::filesystem;

class TextGateTest : public testing::Test {
 protected:
  ExportReport ExportWith(const TextGate& gate) {
    ExportOptions options;
    options.source = FixturePath("llama-tiny"), options.output = bundle_, options.weights = "bf16";
    options.max_context = 128, options.batch_buckets = {1, 2}, options.tp_degree = 2;
    options.gate = [&](const fs::path& bundle) { return JudgeOnText(bundle, options, gate); };
    return Export(options);
  }
  [[nodiscard]] std::string LoadingError() const {
    try {
      (void)Engine::Load(bundle_, {.threads = 1});
    } catch (const Error& error) { return error.what(); }
    return "";
  }
  const fs::path text_ = fs::path(INTAGLIO_SOURCE_DIR) / "tests/data/text/alice.txt";
  const parity::TemporaryDirectory directory_;
  const fs::path bundle_ = directory_.path() / "bundle";
};

TEST_F(TextGateTest, ComparesWithTheF32BundleAndKeepsTheVerdict) {
  const ParityGate gate = ExportWith({.text = text_, .max_kl = 0.01}).parity.value();
  EXPECT_TRUE(gate.is_ok);
  EXPECT_EQ(gate.text->reference, "llama-tiny, f32 weights");
  EXPECT_GT(gate.divergence_mean, 1e-6);
  EXPECT_EQ(gate.text->context, 128);
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_.path()), fs::directory_iterator()), 1) << "the f32 bundle is still there";
  EXPECT_NE(Inspect(bundle_, InspectView::kSummary).find("Accuracy on a text: ok"), std::string::npos);
}

TEST_F(TextGateTest, ABundleThatIsTooFarFailed) {
  const ParityGate gate = ExportWith({.text = text_, .max_kl = 1e-9}).parity.value();
  EXPECT_FALSE(gate.is_ok);
  EXPECT_NE(LoadingError().find("mean KL divergence"), std::string::npos);
}

TEST_F(TextGateTest, AgainstABundleThatIsThereNothingIsMade) {
  const ParityGate gate = ExportWith({.text = text_, .reference = ExportedBundle("llama-tiny", "bf16")}).parity.value();
  EXPECT_TRUE(gate.is_ok);
  EXPECT_EQ(gate.divergence_worst, 0.0);
}

TEST_F(TextGateTest, ATextThatIsTooShortLeavesNoBundle) {
  const fs::path text = directory_.path() / "short.txt";
  std::ofstream(text) << "Short.";
  EXPECT_THROW((void)ExportWith({.text = text}), Error);
  EXPECT_FALSE(fs::exists(bundle_));
}

}  // namespace
}  // namespace intaglio::test
