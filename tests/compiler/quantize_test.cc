#include "compiler/quantize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "kernels/pack.h"
#include "kernels/quant_format.h"

namespace intaglio::compiler {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();

// Normal numbers, and one in a hundred ten times as large.
std::vector<float> Invented(size_t count, bool has_outliers) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<float> values(count);
  for (float& x : values) x = normal(random) * (has_outliers && random() % 100 == 0 ? 10.0f : 1.0f);
  return values;
}

// What kernels read of the quantised rows.
std::vector<float> Values(DType dtype, const QuantizedRows& rows, int64_t k) {
  std::vector<std::byte> block(static_cast<size_t>(kernels::PackedBlockBytes(rows.k, dtype)));
  kernels::PackQuantizedBlock(dtype, rows, block);
  std::vector<float> values;
  for (int64_t row = 0; row < rows.num_rows; ++row) {
    for (int64_t i = 0; i < k; ++i) values.push_back(kernels::UnpackQuantized(dtype, block.data(), row, i));
  }
  return values;
}

double SquaredError(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
  return sum;
}

// The error of 4 bits between the extremes of each group, without any search or rounding of scales.
double PlainInt4Error(const std::vector<float>& values, size_t group) {
  double sum = 0;
  for (size_t begin = 0; begin < values.size(); begin += group) {
    const auto [least, most] =
        std::minmax_element(values.begin() + static_cast<ptrdiff_t>(begin), values.begin() + static_cast<ptrdiff_t>(begin + group));
    const double step = (double{*most} - *least) / 15;
    for (size_t i = begin; i < begin + group; ++i) {
      const double miss = values[i] - (*least + step * std::round((values[i] - *least) / step));
      sum += miss * miss;
    }
  }
  return sum;
}

class EveryFormat : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(Quantize, EveryFormat,
                         testing::Values(DType::kQ8_0, DType::kInt8G64, DType::kInt8G128, DType::kQ4_1, DType::kInt4G64, DType::kInt4G128),
                         [](const auto& info) { return std::string(Name(info.param)); });

TEST_P(EveryFormat, MissesEachNumberByLittleMoreThanHalfAStep) {
  constexpr int64_t kK = 256;
  const std::vector<float> values = Invented(16 * kK, /*has_outliers=*/false);
  QuantizedRows rows;
  ASSERT_TRUE(Quantize(GetParam(), values, 16, rows));
  const std::vector<float> back = Values(GetParam(), rows, kK);
  const bool has_min = kernels::FormatOf(GetParam()).has_min();
  for (size_t i = 0; i < values.size(); ++i) {
    const float step = rows.d[i / static_cast<size_t>(kernels::FormatOf(GetParam()).group_k)];
    // The search may cut off extremes, by at most a tenth of the range on either side and a rounding.
    ASSERT_LE(std::fabs(values[i] - back[i]), step * (has_min ? 2.5f : 0.51f)) << i << ": " << values[i] << " became " << back[i];
  }
}

TEST_P(EveryFormat, IsExactForZerosAndCloseForOneNumber) {
  for (float value : {0.0f, 1.5f, -0.25f}) {
    const std::vector<float> values(256, value);
    QuantizedRows rows;
    ASSERT_TRUE(Quantize(GetParam(), values, 1, rows));
    for (float back : Values(GetParam(), rows, 256)) ASSERT_NEAR(back, value, std::fabs(value) * 0x1p-11f) << value;
  }
}

TEST_P(EveryFormat, TakesAnyNumberOfColumns) {
  for (int64_t k : {1, 31, 33, 100, 129, 200}) {
    const std::vector<float> values = Invented(static_cast<size_t>(3 * k), /*has_outliers=*/false);
    QuantizedRows rows;
    ASSERT_TRUE(Quantize(GetParam(), values, 3, rows));
    EXPECT_EQ(kernels::PackedBlockBytes(rows.k, GetParam()), kernels::PackedBlockBytes(k, GetParam()));
    const std::vector<float> back = Values(GetParam(), rows, k);
    for (size_t i = 0; i < values.size(); ++i) ASSERT_NEAR(back[i], values[i], 0.02f) << "k " << k << ", element " << i;
  }
}

TEST_P(EveryFormat, RefusesWhatIsNoNumber) {
  for (float bad : {kNan, kInfinity, -kInfinity}) {
    for (size_t at : {0u, 5u, 100u, 255u}) {
      std::vector<float> values = Invented(256, /*has_outliers=*/false);
      values[at] = bad;
      QuantizedRows rows;
      EXPECT_FALSE(Quantize(GetParam(), values, 1, rows)) << bad << " at " << at;
    }
  }
}

TEST_P(EveryFormat, StoresScalesThatItsFormatCanHold) {
  QuantizedRows rows;
  ASSERT_TRUE(Quantize(GetParam(), Invented(512, /*has_outliers=*/true), 2, rows));
  if (kernels::FormatOf(GetParam()).header == kernels::QuantHeader::kF32) return;
  for (const std::vector<float>& numbers : {rows.d, rows.m}) {
    for (float x : numbers) EXPECT_EQ(F16ToF32(F32ToF16(x)), x);
  }
}

class EveryInt4 : public testing::TestWithParam<std::tuple<DType, bool>> {};
INSTANTIATE_TEST_SUITE_P(Quantize, EveryInt4, testing::Combine(testing::Values(DType::kQ4_1, DType::kInt4G64, DType::kInt4G128), testing::Bool()));

// The search weighs large numbers more, and still is better by plain squares too.
TEST_P(EveryInt4, LosesLessThanStepsBetweenTheExtremes) {
  const auto [dtype, has_outliers] = GetParam();
  constexpr int64_t kK = 1024;
  const std::vector<float> values = Invented(16 * kK, has_outliers);
  QuantizedRows rows;
  ASSERT_TRUE(Quantize(dtype, values, 16, rows));
  const double plain = PlainInt4Error(values, static_cast<size_t>(kernels::FormatOf(dtype).group_k));
  const double searched = SquaredError(values, Values(dtype, rows, kK));
  EXPECT_LT(searched, (has_outliers ? 1.0 : 0.93) * plain) << searched << " of " << plain;
}

}  // namespace
}  // namespace intaglio::compiler
