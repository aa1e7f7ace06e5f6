#include "checkpoint/gguf_config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <vector>

namespace intaglio::checkpoint {
namespace {

// The factors that Transformers divides the frequencies by (modeling_rope_utils.py, _compute_llama3_parameters), in float32.
std::vector<float> Factors(const Llama3Scaling& scaling, double theta, size_t num_pairs) {
  std::vector<float> factors;
  const auto original = static_cast<float>(scaling.original_max_position_embeddings);
  for (size_t i = 0; i < num_pairs; ++i) {
    const float frequency = 1.0f / std::pow(static_cast<float>(theta), static_cast<float>(i) / static_cast<float>(num_pairs));
    const float wavelength = 2 * std::numbers::pi_v<float> / frequency;
    const auto factor = static_cast<float>(scaling.factor), low = static_cast<float>(scaling.low_freq_factor),
               high = static_cast<float>(scaling.high_freq_factor);
    const float smooth = (original / wavelength - low) / (high - low);
    factors.push_back(wavelength < original / high ? 1.0f : wavelength > original / low ? factor : 1.0f / ((1 - smooth) / factor + smooth));
  }
  return factors;
}

TEST(DeriveLlama3Scaling, FindsThePublishedParameters) {
  for (const double factor : {8.0, 32.0}) {  // Llama 3.1 and 3.2
    const Llama3Scaling published{.factor = factor, .original_max_position_embeddings = 8192};
    const auto derived = DeriveLlama3Scaling(Factors(published, 500000.0, 64), 500000.0, 0);
    ASSERT_TRUE(derived.has_value());
    EXPECT_EQ(derived->factor, factor);
    EXPECT_EQ(derived->original_max_position_embeddings, 8192);
  }
}

TEST(DeriveLlama3Scaling, FindsAContextThatIsNoPowerOfTwo) {
  const Llama3Scaling scaling{.factor = 4.0, .original_max_position_embeddings = 5000};
  const auto derived = DeriveLlama3Scaling(Factors(scaling, 500000.0, 64), 500000.0, 0);
  ASSERT_TRUE(derived.has_value());
  EXPECT_EQ(derived->original_max_position_embeddings, 5000);
}

TEST(DeriveLlama3Scaling, RefusesFactorsOfAnotherKind) {
  const Llama3Scaling other_edges{.factor = 8.0, .low_freq_factor = 1.0, .high_freq_factor = 8.0, .original_max_position_embeddings = 8192};
  EXPECT_FALSE(DeriveLlama3Scaling(Factors(other_edges, 500000.0, 64), 500000.0, 0).has_value());
  EXPECT_FALSE(DeriveLlama3Scaling(std::vector<float>{1.0f, 3.0f, 2.0f, 8.0f}, 10000.0, 0).has_value());
  EXPECT_FALSE(DeriveLlama3Scaling(std::vector<float>{1.0f, std::nanf(""), 8.0f}, 10000.0, 0).has_value());
  EXPECT_FALSE(DeriveLlama3Scaling(std::vector<float>{1.0f, INFINITY}, 10000.0, 0).has_value());
  EXPECT_FALSE(DeriveLlama3Scaling(std::vector<float>{1.0f, -8.0f}, 10000.0, 0).has_value());
  EXPECT_FALSE(DeriveLlama3Scaling({}, 10000.0, 0).has_value());
}

}  // namespace
}  // namespace intaglio::checkpoint
