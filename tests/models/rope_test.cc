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

TEST(RopeTable, NamesDifferWhereverTablesDo) {
  const RopeSpec spec{.scaling = RopeScaling::kLlama3, .rotary_dim = 4, .factor = 8, .original_max_position = 64};
  std::vector<RopeSpec> specs(8, spec);
  specs[1].rotary_dim = 6, specs[2].theta = 10000.0001, specs[3].factor = 8.5, specs[4].low_freq_factor = 2;
  specs[5].high_freq_factor = 5, specs[6].original_max_position = 65, specs[7].scaling = RopeScaling::kLinear;
  for (size_t i = 0; i < specs.size(); ++i) {
    for (size_t j = 0; j < i; ++j) EXPECT_NE(RopeTable(specs[i]).name(), RopeTable(specs[j]).name());
  }
}

}  // namespace intaglio::layers
