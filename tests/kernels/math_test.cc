// The vector functions against double, and the random generator against its published vectors.
#include <cmath>

#include "harness.h"
#include "kernels/isa/expose.h"

namespace intaglio::kernels {
namespace {

using Function = void (*)(std::span<const float>, float*) noexcept;

struct Level {
  Isa isa;
  Function exp, log, tanh, softplus;
  decltype(&scalar::ExponentialOf) exponential;
  decltype(&scalar::PhiloxOf) philox;
};

std::vector<Level> Levels() {
  std::vector<Level> levels;
  for (Isa isa : SupportedIsas()) {
    if (isa == Isa::kScalar)
      levels.push_back({isa, scalar::ExpOf, scalar::LogOf, scalar::TanhOf, scalar::SoftplusOf, scalar::ExponentialOf, scalar::PhiloxOf});
    if (isa == Isa::kAvx2) levels.push_back({isa, avx2::ExpOf, avx2::LogOf, avx2::TanhOf, avx2::SoftplusOf, avx2::ExponentialOf, avx2::PhiloxOf});
    if (isa == Isa::kAvx512)
      levels.push_back({isa, avx512::ExpOf, avx512::LogOf, avx512::TanhOf, avx512::SoftplusOf, avx512::ExponentialOf, avx512::PhiloxOf});
  }
  return levels;
}

std::vector<float> Spread(float low, float high, int count) {
  std::vector<float> x(static_cast<size_t>(count));
  for (size_t i = 0; i < x.size(); ++i) x[i] = low + (high - low) * static_cast<float>(i) / static_cast<float>(count - 1);
  return x;
}

// Error in units of the last place of the exact value's float.
double UlpError(float value, double exact) {
  const auto nearest = static_cast<float>(exact);
  const double ulp = std::nextafter(std::fabs(nearest), INFINITY) - std::fabs(nearest);
  return std::fabs(static_cast<double>(value) - exact) / ulp;
}

double WorstUlp(const std::vector<float>& x, const std::vector<float>& y, double (*exact)(double)) {
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) worst = std::max(worst, UlpError(y[i], exact(static_cast<double>(x[i]))));
  return worst;
}

std::vector<float> Apply(Function function, const std::vector<float>& x) {
  std::vector<float> y(x.size());
  function(x, y.data());
  return y;
}

TEST(Math, ExpIsWithinTwoUlp) {
  const std::vector<float> x = Spread(-87.0f, 88.0f, 400003);
  EXPECT_LE(WorstUlp(x, Apply(scalar::ExpOf, x), std::exp), 2.0);
}

TEST(Math, TanhIsWithinTwoUlpAndSaturates) {
  const std::vector<float> x = Spread(-12.0f, 12.0f, 400003);
  EXPECT_LE(WorstUlp(x, Apply(scalar::TanhOf, x), std::tanh), 2.0);
  const std::vector<float> ends = Apply(scalar::TanhOf, {50.0f, -50.0f, 1e30f, -INFINITY, 0.0f, 1e-20f});
  EXPECT_EQ(ends, (std::vector<float>{1.0f, -1.0f, 1.0f, -1.0f, 0.0f, 1e-20f}));
}

TEST(Math, TanhHasTheSameBitsAtEveryLevel) {
  const std::vector<float> x = Spread(-12.0f, 12.0f, 100003), expected = Apply(scalar::TanhOf, x);
  for (const Level& level : Levels()) {
    EXPECT_EQ(std::memcmp(Apply(level.tanh, x).data(), expected.data(), x.size() * sizeof(float)), 0) << Name(level.isa);
  }
}

// Where it is tiny as well: the length of a step of a state space model is a softplus.
TEST(Math, SoftplusIsWithinFourUlpWhereverItIsANormalNumber) {
  const std::vector<float> x = Spread(-80.0f, 40.0f, 400003);
  EXPECT_LE(WorstUlp(x, Apply(scalar::SoftplusOf, x), [](double v) { return std::log1p(std::exp(v)); }), 4.0);
}

TEST(Math, ExpOfZeroIsOneAndFarBelowIsTinyButPositive) {
  const std::vector<float> y = Apply(scalar::ExpOf, {0.0f, -0.0f, -1000.0f, -INFINITY, 1000.0f});
  EXPECT_EQ(y[0], 1.0f);
  EXPECT_EQ(y[1], 1.0f);
  EXPECT_GT(y[2], 0.0f);
  EXPECT_EQ(y[2], y[3]);
  EXPECT_TRUE(std::isfinite(y[4]));
}

TEST(Math, LogIsWithinTwoUlp) {
  std::vector<float> x = Spread(0.25f, 4.0f, 200003);
  for (float e = -120; e < 120; e += 0.37f) x.push_back(std::exp2(e));
  EXPECT_LE(WorstUlp(x, Apply(scalar::LogOf, x), std::log), 2.0);
  EXPECT_EQ(Apply(scalar::LogOf, {1.0f})[0], 0.0f);
}

TEST(Math, AllLevelsGiveTheSameBits) {
  const std::vector<float> x = Spread(-100.0f, 100.0f, 100003), positive = Spread(1e-30f, 1e4f, 100003);
  std::vector<uint32_t> words(10007);
  std::iota(words.begin(), words.end(), 0);
  for (uint32_t& word : words) word *= 429167u;
  std::vector<float> exponential(words.size()), expected(words.size());
  scalar::ExponentialOf(words, expected.data());
  for (const Level& level : Levels()) {
    EXPECT_EQ(std::memcmp(Apply(level.exp, x).data(), Apply(scalar::ExpOf, x).data(), x.size() * 4), 0) << Name(level.isa);
    EXPECT_EQ(std::memcmp(Apply(level.log, positive).data(), Apply(scalar::LogOf, positive).data(), x.size() * 4), 0) << Name(level.isa);
    EXPECT_EQ(std::memcmp(Apply(level.softplus, x).data(), Apply(scalar::SoftplusOf, x).data(), x.size() * 4), 0) << Name(level.isa);
    level.exponential(words, exponential.data());
    EXPECT_EQ(std::memcmp(exponential.data(), expected.data(), words.size() * 4), 0) << Name(level.isa);
  }
}

// Vectors of Random123's kat_vectors for philox4x32-10.
TEST(Math, PhiloxMatchesThePublishedVectors) {
  struct Case {
    uint32_t counter[4];
    uint64_t key;
    uint32_t words[4];
  };
  constexpr Case kCases[] = {
      {{0, 0, 0, 0}, 0, {0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}},
      {{~0u, ~0u, ~0u, ~0u}, ~0ull, {0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}},
      {{0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}, 0x299f31d0a4093822ull, {0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}},
  };
  for (const Level& level : Levels()) {
    for (const Case& c : kCases) {
      uint32_t words[4];
      level.philox(c.counter, c.key, words);
      EXPECT_EQ(std::memcmp(words, c.words, sizeof words), 0) << Name(level.isa);
    }
  }
}

TEST(Math, ExponentialNumbersArePositiveAndAccurateAtBothEnds) {
  std::vector<uint32_t> words{0, 1, 2, 3, 100, 65535, 65536, 1u << 24, 1u << 31, ~0u - 65536, ~0u - 300};
  for (uint32_t i = 0; i < 10000; ++i) words.push_back(i * 429496u);
  std::vector<float> numbers(words.size());
  scalar::ExponentialOf(words, numbers.data());
  for (size_t i = 0; i < words.size(); ++i) {
    const double exact = -std::log1p(-(words[i] + 0.5) / 4294967296.0);
    ASSERT_GT(numbers[i], 0.0f) << words[i];
    // Near u = 1 the rounding of u itself is divided by 1 - u.
    ASSERT_NEAR(numbers[i], exact, exact * 4e-7 + 6e-8 * std::exp(exact)) << words[i];
  }
  const uint32_t last = ~0u;
  scalar::ExponentialOf({&last, 1}, numbers.data());
  EXPECT_NEAR(numbers[0], 22.18, 0.01);   // u rounds to 1: the largest number there is
}

}  // namespace
}  // namespace intaglio::kernels
