// Tables against Transformers' are in fixture.cc (every cos and sin of the fixtures); here is what those do not reach.
#include "layers/rope.h"

#include <gtest/gtest.h>

#include <cmath>

namespace intaglio::layers {

TEST(Rope, LinearScalingDividesEveryFrequency) {
  const std::vector<float> plain = InverseFrequencies({.rotary_dim = 8}),
                           scaled = InverseFrequencies({.scaling = RopeScaling::kLinear, .rotary_dim = 8, .factor = 4});
  ASSERT_EQ(plain.size(), 4U);
  for (size_t i = 0; i < plain.size(); ++i) EXPECT_EQ(scaled[i], plain[i] / 4);
}

TEST(Rope, Llama3KeepsShortWavelengthsAndStretchesLongOnes) {
  const RopeSpec plain_spec{.rotary_dim = 128, .theta = 500000};
  RopeSpec spec = plain_spec;
  spec.scaling = RopeScaling::kLlama3, spec.factor = 8, spec.original_max_position = 8192;
  const std::vector<float> plain = InverseFrequencies(plain_spec), scaled = InverseFrequencies(spec);
  size_t num_kept = 0, num_stretched = 0;
  for (size_t i = 0; i < plain.size(); ++i) {
    const double wavelength = 2 * M_PI / plain[i];
    num_kept += wavelength < 8192 / 4.0 && scaled[i] == plain[i] ? 1 : 0;
    num_stretched += wavelength > 8192 && scaled[i] == plain[i] / 8 ? 1 : 0;
    EXPECT_LE(scaled[i], plain[i]);
    EXPECT_GE(scaled[i], plain[i] / 8);
  }
  // Llama 3.1: pairs 0 to 28 are kept, 35 to 63 stretched, the six between interpolated.
  EXPECT_EQ(num_kept, 29U);
  EXPECT_EQ(num_stretched, 29U);
}

TEST(Rope, Llama3InterpolatesTheFrequenciesBetween) {
  RopeSpec spec{.rotary_dim = 128, .theta = 500000};
  const std::vector<float> plain = InverseFrequencies(spec);
  spec.scaling = RopeScaling::kLlama3, spec.factor = 8, spec.original_max_position = 8192;
  const std::vector<float> scaled = InverseFrequencies(spec);
  for (size_t i = 29; i < 35; ++i) {
    const double turns = 8192 / (2 * M_PI / plain[i]);              // of the original context
    const double kept = (turns - 1) / (4 - 1), expected = plain[i] * (kept + (1 - kept) / 8);
    EXPECT_NEAR(scaled[i] / expected, 1, 1e-6) << i;
  }
}

TEST(Rope, YarnKeepsColumnsThatTurnOftenAndStretchesThoseThatTurnRarely) {
  RopeSpec spec{.rotary_dim = 64, .theta = 10000};
  const std::vector<float> plain = InverseFrequencies(spec);
  spec.scaling = RopeScaling::kYarn, spec.factor = 4, spec.original_max_position = 2048;
  const std::vector<float> scaled = InverseFrequencies(spec);
  for (size_t i = 0; i < plain.size(); ++i) {
    const double turns = 2048 * plain[i] / (2 * M_PI);
    // A column's width beyond the borders, which are rounded outwards.
    if (turns > 32 * 1.4) {
      EXPECT_EQ(scaled[i], plain[i]) << i;
    } else if (turns < 1 / 1.4) {
      EXPECT_NEAR(scaled[i] / plain[i], 0.25, 1e-6) << i;
    }
    EXPECT_LE(scaled[i], plain[i]);
    EXPECT_GE(scaled[i], plain[i] * 0.2499999f);
  }
  spec.truncate = false;
  EXPECT_NE(InverseFrequencies(spec), scaled);
}

TEST(Rope, LongRopeHasRowsForShortSequencesThenForLongOnes) {
  const RopeSpec spec{.scaling = RopeScaling::kLongRope,
                      .rotary_dim = 4,
                      .theta = 100,
                      .original_max_position = 8,
                      .attention_factor = 1.5,
                      .short_factors = {1, 2},
                      .long_factors = {4, 8}};
  EXPECT_EQ(RopeSwitch(spec, 8), 0);
  EXPECT_EQ(RopeSwitch(spec, 9), 8);
  EXPECT_EQ(RopeTableData(spec, 8).size(), 8u * 4);
  const std::vector<float> table = RopeTableData(spec, 20);
  ASSERT_EQ(table.size(), (8u + 20) * 4);
  EXPECT_NEAR(table[3 * 4 + 1], 1.5 * std::cos(3 / (2 * 10.0)), 1e-6);          // short, position 3, second pair
  EXPECT_NEAR(table[(8 + 3) * 4 + 3], 1.5 * std::sin(3 / (8 * 10.0)), 1e-6);    // long
}

TEST(Rope, ARowHasCosinesThenSinesOfTheF32Angle) {
  const RopeSpec spec{.rotary_dim = 4, .theta = 100};
  const std::vector<float> table = RopeTableData(spec, 1000);
  ASSERT_EQ(table.size(), 4000U);
  const float angle = 999.0f * InverseFrequencies(spec)[1];
  EXPECT_EQ(table[999 * 4 + 1], static_cast<float>(std::cos(static_cast<double>(angle))));
  EXPECT_EQ(table[999 * 4 + 3], static_cast<float>(std::sin(static_cast<double>(angle))));
}

TEST(RopeTable, IsComputedOnceForAContext) {
  const RopeTable table({.rotary_dim = 4});
  EXPECT_EQ(table.Data(16), table.Data(16));
  EXPECT_NE(table.Data(16), table.Data(32));
}

TEST(Rope, DynamicFrequenciesStretchTheBaseWithTheLength) {
  const RopeSpec spec{.scaling = RopeScaling::kDynamic, .rotary_dim = 16, .factor = 4, .original_max_position = 40};
  const std::vector<float> plain = InverseFrequencies({.rotary_dim = 16}), table = FrequenciesByLength(spec, 100);
  ASSERT_EQ(table.size(), 61U * 8);   // lengths up to 40, then 41 to 100
  EXPECT_TRUE(std::equal(plain.begin(), plain.end(), table.begin()));
  for (size_t length : {41U, 80U, 100U}) {
    const double base = 10000 * std::pow(4.0 * static_cast<double>(length) / 40 - 3, 16.0 / 14);
    for (size_t i = 0; i < 8; ++i) {
      const double expected = std::pow(base, -static_cast<double>(i) / 8);
      EXPECT_NEAR(table[(length - 40) * 8 + i], expected, 1e-6 * expected) << "length " << length << ", pair " << i;
    }
  }
}

TEST(Rope, DynamicFrequenciesAreOneRowWhereTheContextIsShort) {
  EXPECT_EQ(FrequenciesByLength({.scaling = RopeScaling::kDynamic, .rotary_dim = 16, .factor = 4, .original_max_position = 40}, 40).size(), 8U);
}

TEST(RopeTable, NamesDifferWhereverTablesDo) {
  const RopeSpec spec{.scaling = RopeScaling::kLlama3, .rotary_dim = 4, .factor = 8, .original_max_position = 64};
  std::vector<RopeSpec> specs(15, spec);
  specs[1].rotary_dim = 6, specs[2].theta = 10000.0001, specs[3].factor = 8.5, specs[4].low_freq_factor = 2;
  specs[5].high_freq_factor = 5, specs[6].original_max_position = 65, specs[7].scaling = RopeScaling::kLinear;
  for (size_t i = 8; i < specs.size(); ++i) specs[i].scaling = i < 12 ? RopeScaling::kYarn : RopeScaling::kLongRope;
  specs[9].truncate = false, specs[10].beta_fast = 31, specs[11].attention_factor = 1.1;
  specs[13].short_factors = {1, 2}, specs[14].long_factors = {1, 2};
  for (size_t i = 0; i < specs.size(); ++i) {
    for (size_t j = 0; j < i; ++j) EXPECT_NE(RopeTable(specs[i]).name(), RopeTable(specs[j]).name());
  }
}

}  // namespace intaglio::layers
