// The bytes of packed weights, element by element: they are a file format.
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include "kernels/kernel.h"
#include "kernels/pack.h"

namespace intaglio::kernels {
namespace {

std::vector<float> RandomRows(int64_t num_rows, int64_t k) {
  std::mt19937 random(static_cast<uint32_t>(num_rows * 100 + k));
  std::normal_distribution<float> normal;
  std::vector<float> rows(static_cast<size_t>(num_rows * k));
  for (float& x : rows) x = normal(random);
  return rows;
}

// A block that was full of something else before.
std::vector<std::byte> DirtyBlock(int64_t k, DType dtype) { return {static_cast<size_t>(PackedBlockBytes(k, dtype)), std::byte{0xa5}}; }

class Pack : public testing::TestWithParam<std::tuple<int64_t, int64_t>> {};
INSTANTIATE_TEST_SUITE_P(Shapes, Pack, testing::Combine(testing::Values(1, 7, 16), testing::Values(1, 2, 15, 16, 17, 96, 97)));

TEST_P(Pack, F32LinesHoldSixteenColumnsOfOneK) {
  const auto [num_rows, k] = GetParam();
  const std::vector<float> rows = RandomRows(num_rows, k);
  std::vector<std::byte> block = DirtyBlock(k, DType::kF32);
  PackBlock(rows.data(), num_rows, k, DType::kF32, block);
  for (int64_t j = 0; j < k; ++j) {
    for (int64_t i = 0; i < kLanes; ++i) {
      float value;
      std::memcpy(&value, block.data() + (j * kLanes + i) * 4, 4);
      ASSERT_EQ(value, i < num_rows ? rows[static_cast<size_t>(i * k + j)] : 0.0f) << "row " << i << ", k " << j;
    }
  }
}

TEST_P(Pack, Bf16LinesHoldSixteenColumnsOfTwoK) {
  const auto [num_rows, k] = GetParam();
  const std::vector<float> rows = RandomRows(num_rows, k);
  std::vector<std::byte> block = DirtyBlock(k, DType::kBF16);
  PackBlock(rows.data(), num_rows, k, DType::kBF16, block);
  for (int64_t j = 0; j < (k + 1) / 2 * 2; ++j) {
    for (int64_t i = 0; i < kLanes; ++i) {
      uint16_t bits;
      std::memcpy(&bits, block.data() + (j / 2 * kLanes + i) * 4 + j % 2 * 2, 2);
      ASSERT_EQ(bits, i < num_rows && j < k ? F32ToBf16(rows[static_cast<size_t>(i * k + j)]) : 0) << "row " << i << ", k " << j;
    }
  }
}

TEST_P(Pack, Bf16RowsGiveTheBytesOfTheirF32Values) {
  const auto [num_rows, k] = GetParam();
  std::vector<float> rows = RandomRows(num_rows, k);
  std::vector<uint16_t> bf16_rows;
  for (float x : rows) bf16_rows.push_back(F32ToBf16(x));
  std::vector<std::byte> from_f32 = DirtyBlock(k, DType::kBF16), from_bf16 = from_f32;
  PackBlock(rows.data(), num_rows, k, DType::kBF16, from_f32);
  PackBlockBf16(bf16_rows.data(), num_rows, k, from_bf16);
  EXPECT_EQ(from_bf16, from_f32);
}

TEST(PackedBytes, RoundsColumnsUpToBlocksAndBf16UpToPairs) {
  EXPECT_EQ(PackedBlockBytes(10, DType::kF32), 10 * 64);
  EXPECT_EQ(PackedBlockBytes(10, DType::kBF16), 5 * 64);
  EXPECT_EQ(PackedBlockBytes(11, DType::kBF16), 6 * 64);
  EXPECT_EQ(PackedBytes(16, 10, DType::kF32), 640);
  EXPECT_EQ(PackedBytes(17, 10, DType::kF32), 1280);
}

}  // namespace
}  // namespace intaglio::kernels
