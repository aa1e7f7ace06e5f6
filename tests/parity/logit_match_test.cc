#include "parity/logit_match.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace intaglio::parity {
namespace {

// Logits of one row, falling: token 0 is the likeliest.
std::vector<float> Falling(size_t vocab) {
  std::vector<float> row(vocab);
  for (size_t i = 0; i < vocab; ++i) row[i] = -0.01f * static_cast<float>(i);
  return row;
}

TEST(LogitMatch, AnErrorCountsInTheBandsThatHoldItsToken) {
  const std::vector<float> golden = Falling(2000);
  std::vector<float> logits = golden;
  logits[3] += 0.5f, logits[40] += 1.0f, logits[999] += 2.0f, logits[1500] += 4.0f;
  LogitMatch match(2000);
  match.AddPrompt("p0", logits, golden);
  const std::vector<LogitBand> bands = match.bands();
  ASSERT_EQ(bands.size(), 4u);
  EXPECT_NEAR(bands[0].worst, 0.5, 1e-6);
  EXPECT_NEAR(bands[0].mean, 0.5 / 5, 1e-6);
  EXPECT_NEAR(bands[1].worst, 1.0, 1e-6);
  EXPECT_NEAR(bands[1].mean, 1.5 / 50, 1e-6);
  EXPECT_NEAR(bands[2].worst, 2.0, 1e-6);
  EXPECT_NEAR(bands[3].worst, 4.0, 1e-6);
  EXPECT_NE(bands[3].where.find("p0[0, 1500]"), std::string::npos) << bands[3].where;
}

TEST(LogitMatch, BandsWiderThanTheVocabularyAreLeftOut) {
  LogitMatch match(50);
  match.AddPrompt("p0", Falling(50), Falling(50));
  std::vector<int64_t> tops;
  for (const LogitBand& band : match.bands()) tops.push_back(band.top);
  EXPECT_EQ(tops, (std::vector<int64_t>{5, 0}));
}

TEST(LogitMatch, DivergenceIsKullbackLeiblersOfTheGoldenFromOurs) {
  // Probabilities 0.5, 0.5 against 0.75, 0.25: 0.5 ln(0.5 / 0.75) + 0.5 ln(0.5 / 0.25).
  const std::vector<float> golden{1.0f, 1.0f}, logits{static_cast<float>(std::log(3.0)), 0.0f};
  LogitMatch match(2);
  match.AddPrompt("p0", golden, golden);
  match.AddPrompt("p1", logits, golden);
  const double expected = 0.5 * std::log(0.5 / 0.75) + 0.5 * std::log(0.5 / 0.25);
  EXPECT_NEAR(match.divergence().worst, expected, 1e-7);
  EXPECT_NEAR(match.divergence().mean, expected / 2, 1e-7);
  EXPECT_EQ(match.divergence().where, "p1[0]");
}

TEST(LogitMatch, ErrorsWithinToleranceCannotMakeTheDivergenceMiss) {
  // The worst case of the bound: every logit off by all that is allowed, half of them up.
  constexpr double kTolerances[]{0.25, 0.25, 0.25, 0.25};
  std::vector<float> golden(64, 0.0f), logits(64);
  for (size_t i = 0; i < 64; ++i) logits[i] = i % 2 == 0 ? 0.25f : -0.25f;
  LogitMatch match(64);
  match.AddPrompt("p0", logits, golden);
  for (const ParityCheck& check : match.Checks(kTolerances))
    EXPECT_TRUE(check.is_ok) << check.name << ' ' << check.worst << " of " << check.tolerance;
  EXPECT_GT(match.divergence().worst, 0.25 * 0.25 / 2 * 0.9);   // and the bound is close
}

TEST(LogitMatch, EachBandHasItsOwnTolerance) {
  constexpr double kTolerances[]{1.0, 1.0, 1.0, 1e-3};
  std::vector<float> logits = Falling(100);
  logits[90] += 0.1f;
  LogitMatch match(100);
  match.AddPrompt("p0", logits, Falling(100));
  for (const ParityCheck& check : match.Checks(kTolerances)) EXPECT_EQ(check.is_ok, check.name != "logits, all") << check.name;
}

TEST(LogitMatch, NotANumberIsAMiss) {
  constexpr double kTolerances[]{1.0, 1.0, 1.0, 1.0};
  std::vector<float> logits = Falling(100);
  logits[2] = std::numeric_limits<float>::quiet_NaN();
  LogitMatch match(100);
  match.AddPrompt("p0", logits, Falling(100));
  for (const ParityCheck& check : match.Checks(kTolerances)) EXPECT_FALSE(check.is_ok) << check.name;
}

}  // namespace
}  // namespace intaglio::parity
