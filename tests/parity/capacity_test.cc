// Experts whose rows are bounded (--capacity-factor): mixtral-tiny, 2 of 4 experts a row.
#include <gtest/gtest.h>

#include "base/fail.h"
#include "tests/base/temporary_folder.h"
#include "tests/parity/exported.h"

namespace intaglio::test {
namespace {

constexpr int32_t kRows = 16;

void ExportTo(const std::filesystem::path& bundle, const std::string& fixture, double capacity_factor) {
  ExportOptions options;
  options.source = FixturePath(fixture), options.output = bundle, options.max_context = 128, options.prefill_buckets = {kRows};
  options.capacity_factor = capacity_factor;
  (void)Export(options);
}

// Logits of every row of one chunk.
Logits Prefill(double capacity_factor) {
  const TemporaryFolder folder;
  ExportTo(folder.path() / "bundle", "mixtral-tiny", capacity_factor);
  const auto engine = Engine::Load(folder.path() / "bundle", {.threads = 2, .isa = {}, .verify_checksums = false});
  const std::vector<int32_t> tokens = LongSequence("mixtral-tiny");
  Logits logits;
  Append(*engine, StepKind::kContextEncoding, engine->AcquireSlot().value(), std::span(tokens).first(kRows), kRows, logits);
  return logits;
}

TEST(CapacityFactor, ChangesNothingWhereEveryRowFits) {
  const Logits all = Prefill(0), bounded = Prefill(2);   // 16 rows x 2 experts x 2 / 4 = 16 rows an expert
  ASSERT_EQ(all.size(), static_cast<size_t>(kRows));
  for (const auto& [position, logits] : all) EXPECT_TRUE(IsSame(logits, bounded.at(position))) << position;
}

TEST(CapacityFactor, TakesExpertsFromLaterRowsFirst) {
  const Logits all = Prefill(0), bounded = Prefill(0.25);   // two rows an expert
  EXPECT_TRUE(IsSame(all.at(0), bounded.at(0)));
  EXPECT_TRUE(IsSame(all.at(1), bounded.at(1)));
  EXPECT_FALSE(IsSame(all.at(kRows - 1), bounded.at(kRows - 1)));
}

TEST(CapacityFactor, IsRefusedForAModelWithoutExperts) {
  const TemporaryFolder folder;
  try {
    ExportTo(folder.path() / "bundle", "llama-tiny", 1.0);
    FAIL() << "exported";
  } catch (const Error& error) { EXPECT_STREQ(error.what(), "export: --capacity-factor 1 is for mixtures of experts; this model has none"); }
}

}  // namespace
}  // namespace intaglio::test
