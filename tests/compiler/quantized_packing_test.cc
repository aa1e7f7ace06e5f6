// Blocks of GGUF files, packed for kernels without loss: what a packed block unpacks to are the format's own values, bit for bit.
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include "checkpoint/gguf.h"
#include "checkpoint/gguf_quantized.h"
#include "kernels/kernel.h"
#include "kernels/pack.h"
#include "kernels/quant_format.h"

namespace intaglio {
namespace {

using checkpoint::GgmlType;
using kernels::kLanes;

// Blocks of random bytes but for their f16 numbers, which are kept finite (NaN has many spellings).
std::vector<std::byte> RandomBlocks(GgmlType type, size_t count, std::mt19937& random) {
  const size_t block_bytes = checkpoint::Info(type).block_bytes;
  std::vector<std::byte> bytes(count * block_bytes);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() & 255u);
  const bool ends_in_scale = type == GgmlType::kQ2_K || type == GgmlType::kQ3_K || type == GgmlType::kQ6_K;
  for (size_t block = 0; block < count; ++block) {
    std::byte* end = bytes.data() + (block + 1) * block_bytes;
    for (std::byte* high : {end - block_bytes + 1, end - block_bytes + 3, end - 1, end - 3}) {
      if (ends_in_scale == (high >= end - 3)) *high &= std::byte{0xbf};   // an exponent below 16
    }
  }
  return bytes;
}

class EveryQuantizedType : public testing::TestWithParam<std::tuple<GgmlType, int64_t, int64_t>> {};
INSTANTIATE_TEST_SUITE_P(Packing, EveryQuantizedType,
                         testing::Combine(testing::Values(GgmlType::kQ8_0, GgmlType::kQ4_0, GgmlType::kQ4_1, GgmlType::kQ5_0, GgmlType::kQ5_1,
                                                          GgmlType::kQ2_K, GgmlType::kQ3_K, GgmlType::kQ4_K, GgmlType::kQ5_K, GgmlType::kQ6_K),
                                          testing::Values(1, 5, 16), testing::Values(1, 2, 3)));

TEST_P(EveryQuantizedType, UnpacksToTheValuesThatTheFormatDefines) {
  const auto [type, num_rows, blocks] = GetParam();
  const int64_t k = blocks * checkpoint::Info(type).block_elements;
  std::mt19937 random(static_cast<uint32_t>(num_rows * 10 + blocks));
  const std::vector<std::byte> bytes = RandomBlocks(type, static_cast<size_t>(num_rows * blocks), random);
  std::vector<float> values(static_cast<size_t>(num_rows * k));
  checkpoint::Dequantize(type, bytes, values);

  const DType dtype = *checkpoint::QuantizedType(type);
  QuantizedRows rows{.num_rows = num_rows, .k = k, .q = {}, .d = {}, .m = {}, .s = {}, .t = {}};
  checkpoint::AppendBlocks(type, bytes, rows);
  std::vector<std::byte> block(static_cast<size_t>(kernels::PackedBlockBytes(k, dtype)), std::byte{0xa5});
  kernels::PackQuantizedBlock(dtype, rows, block);
  for (int64_t row = 0; row < num_rows; ++row) {
    for (int64_t i = 0; i < k; ++i) {
      const float unpacked = kernels::UnpackQuantized(dtype, block.data(), row, i), expected = values[static_cast<size_t>(row * k + i)];
      ASSERT_EQ(std::memcmp(&unpacked, &expected, sizeof expected), 0) << "row " << row << ", k " << i << ": " << unpacked << ", not " << expected;
    }
  }
}

TEST_P(EveryQuantizedType, LeavesNothingOfTheBlocksFormerBytes) {
  const auto [type, num_rows, blocks] = GetParam();
  const int64_t k = blocks * checkpoint::Info(type).block_elements;
  std::mt19937 random(1);
  const DType dtype = *checkpoint::QuantizedType(type);
  QuantizedRows rows{.num_rows = num_rows, .k = k, .q = {}, .d = {}, .m = {}, .s = {}, .t = {}};
  checkpoint::AppendBlocks(type, RandomBlocks(type, static_cast<size_t>(num_rows * blocks), random), rows);
  std::vector<std::byte> block(static_cast<size_t>(kernels::PackedBlockBytes(k, dtype)), std::byte{0xa5}), other(block.size());
  kernels::PackQuantizedBlock(dtype, rows, block);
  kernels::PackQuantizedBlock(dtype, rows, other);
  EXPECT_EQ(block, other);
}

}  // namespace
}  // namespace intaglio
