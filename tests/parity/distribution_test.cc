#include "parity/distribution.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace intaglio::parity {
namespace {

TEST(Distribution, IsSoftmaxOfItsLogits) {
  const std::vector<float> logits{0.0f, static_cast<float>(std::log(3.0))};
  const Distribution distribution(logits);
  EXPECT_NEAR(std::exp(distribution.LogProbability(0)), 0.25, 1e-7);
  EXPECT_EQ(distribution.likeliest(), 1u);
}

TEST(Distribution, SurvivesLogitsWhoseExponentialsAreInfinite) {
  const std::vector<float> logits{1000.0f, 1000.0f};
  EXPECT_NEAR(Distribution(logits).LogProbability(1), std::log(0.5), 1e-12);
}

TEST(Distribution, DivergenceTellsWhichIsTheGolden) {
  const std::vector<float> even{1.0f, 1.0f}, uneven{static_cast<float>(std::log(3.0)), 0.0f};
  const Distribution a(even), b(uneven);
  EXPECT_NEAR(Divergence(b, a), 0.5 * std::log(0.5 / 0.75) + 0.5 * std::log(0.5 / 0.25), 1e-7);
  EXPECT_NEAR(Divergence(a, b), 0.75 * std::log(0.75 / 0.5) + 0.25 * std::log(0.25 / 0.5), 1e-7);
  EXPECT_EQ(Divergence(a, a), 0.0);
}

TEST(Distribution, ATokenThatTheGoldenRulesOutAddsNothing) {
  const std::vector<float> golden{0.0f, -INFINITY}, logits{0.0f, 0.0f};
  EXPECT_NEAR(Divergence(Distribution(logits), Distribution(golden)), std::log(2.0), 1e-12);
}

TEST(Distribution, NotANumberIsInfinitelyFar) {
  const std::vector<float> right{0.0f, 1.0f}, wrong{0.0f, std::numeric_limits<float>::quiet_NaN()};
  EXPECT_EQ(Divergence(Distribution(wrong), Distribution(right)), INFINITY);
  EXPECT_EQ(Divergence(Distribution(right), Distribution(wrong)), INFINITY);
}

}  // namespace
}  // namespace intaglio::parity
