#include "checkpoint/gguf_dequantize.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstring>

#include "base/assert.h"
#include "base/dtype.h"
#include "checkpoint/gguf_blocks.h"

namespace intaglio::checkpoint {
namespace {

void Expand(const BlockF16& block, float* out) { *out = Widen(block.value); }

void Expand(const BlockBF16& block, float* out) {
  uint16_t bits = 0;
  std::memcpy(&bits, block.value.data(), sizeof bits);
  *out = Bf16ToF32(bits);
}

void Expand(const BlockQ4_0& block, float* out) {
  const float d = Widen(block.d);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>((block.quants[i] & 15) - 8);
    out[i + 16] = d * static_cast<float>((block.quants[i] >> 4) - 8);
  }
}

void Expand(const BlockQ4_1& block, float* out) {
  const float d = Widen(block.d), m = Widen(block.m);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(block.quants[i] & 15) + m;
    out[i + 16] = d * static_cast<float>(block.quants[i] >> 4) + m;
  }
}

void Expand(const BlockQ5_0& block, float* out) {
  const float d = Widen(block.d);
  const FifthBits fifth(block.high);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(((block.quants[i] & 15) | fifth.low(i)) - 16);
    out[i + 16] = d * static_cast<float>((block.quants[i] >> 4 | fifth.high(i)) - 16);
  }
}

void Expand(const BlockQ5_1& block, float* out) {
  const float d = Widen(block.d), m = Widen(block.m);
  const FifthBits fifth(block.high);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>((block.quants[i] & 15) | fifth.low(i)) + m;
    out[i + 16] = d * static_cast<float>(block.quants[i] >> 4 | fifth.high(i)) + m;
  }
}

void Expand(const BlockQ8_0& block, float* out) {
  const float d = Widen(block.d);
  for (int i = 0; i < kSmallBlock; ++i) out[i] = static_cast<float>(block.quants[i]) * d;
}

// 16 groups of 16 elements. Two halves of 128; in a half the 32 bytes hold elements 32 apart in bits 0-1, 2-3, 4-5, 6-7.
void Expand(const BlockQ2K& block, float* out) {
  const float d = Widen(block.d), dmin = Widen(block.dmin);
  for (int group = 0; group < 16; ++group) {
    const uint8_t* quants = block.quants + 32 * (group / 8) + 16 * (group % 2);
    const int shift = 2 * (group / 2 % 4);
    const float scale = d * static_cast<float>(block.scales[group] & 15);
    const float offset = dmin * static_cast<float>(block.scales[group] >> 4);
    for (int i = 0; i < 16; ++i) out[16 * group + i] = scale * static_cast<float>(quants[i] >> shift & 3) - offset;
  }
}

// Quants as in Q2_K; a clear bit in `high` takes 4 off. Six-bit scales: low nibbles in bytes 0-7, upper two bits in 8-11.
void Expand(const BlockQ3K& block, float* out) {
  const float d = Widen(block.d);
  for (int group = 0; group < 16; ++group) {
    const int low = block.scales[group % 8] >> (group < 8 ? 0 : 4) & 15;
    const int high = block.scales[8 + group % 4] >> 2 * (group / 4) & 3;
    const float scale = d * static_cast<float>((low | high << 4) - 32);
    const uint8_t* quants = block.quants + 32 * (group / 8) + 16 * (group % 2);
    const uint8_t* mask = block.high + 16 * (group % 2);
    const int shift = 2 * (group / 2 % 4), bit = group / 2;
    for (int i = 0; i < 16; ++i) {
      const int quant = (quants[i] >> shift & 3) - ((mask[i] >> bit & 1) != 0 ? 0 : 4);
      out[16 * group + i] = scale * static_cast<float>(quant);
    }
  }
}

// 8 groups of 32; two neighbouring groups share 32 bytes, low nibbles first.
void Expand(const BlockQ4K& block, float* out) {
  const float d = Widen(block.d), dmin = Widen(block.dmin);
  for (int group = 0; group < 8; ++group) {
    const auto [scale_bits, min_bits] = SixBits(block.scales, group);
    const float scale = d * static_cast<float>(scale_bits), offset = dmin * static_cast<float>(min_bits);
    const uint8_t* quants = block.quants + 32 * (group / 2);
    const int shift = 4 * (group % 2);
    for (int i = 0; i < 32; ++i) out[32 * group + i] = scale * static_cast<float>(quants[i] >> shift & 15) - offset;
  }
}

// As Q4_K, with bit `group` of high[i] as the fifth bit.
void Expand(const BlockQ5K& block, float* out) {
  const float d = Widen(block.d), dmin = Widen(block.dmin);
  for (int group = 0; group < 8; ++group) {
    const auto [scale_bits, min_bits] = SixBits(block.scales, group);
    const float scale = d * static_cast<float>(scale_bits), offset = dmin * static_cast<float>(min_bits);
    const uint8_t* quants = block.quants + 32 * (group / 2);
    const int shift = 4 * (group % 2);
    for (int i = 0; i < 32; ++i) {
      const int quant = (quants[i] >> shift & 15) | (block.high[i] >> group & 1) << 4;
      out[32 * group + i] = scale * static_cast<float>(quant) - offset;
    }
  }
}

// Two halves of 128. In a half: 64 bytes of low nibbles (elements 0-63, then 64-127 in the high nibbles), 32 bytes of upper bit
// pairs for elements 32 apart. A scale covers 16 elements.
void Expand(const BlockQ6K& block, float* out) {
  const float d = Widen(block.d);
  for (int group = 0; group < 16; ++group) {
    const int half = group / 8, quarter = group % 8 / 2;  // 32 elements
    const uint8_t* low = block.low + 64 * half + 32 * (quarter % 2) + 16 * (group % 2);
    const uint8_t* high = block.high + 32 * half + 16 * (group % 2);
    const int low_shift = 4 * (quarter / 2), high_shift = 2 * quarter;
    const float scale = d * static_cast<float>(block.scales[group]);
    for (int i = 0; i < 16; ++i) {
      const int quant = (low[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4;
      out[16 * group + i] = scale * static_cast<float>(quant - 32);
    }
  }
}

template <typename Block>
void ExpandAll(std::span<const std::byte> bytes, std::span<float> out, size_t block_elements) {
  static_assert(alignof(Block) == 1);
  const auto* blocks = reinterpret_cast<const Block*>(bytes.data());
  const size_t count = bytes.size() / sizeof(Block);
  for (size_t i = 0; i < count; ++i) Expand(blocks[i], out.data() + i * block_elements);
}

constexpr std::array<GgmlTypeInfo, 13> kTypes{{
    {GgmlType::kF32, "F32", 1, sizeof(float)},
    {GgmlType::kF16, "F16", 1, sizeof(BlockF16)},
    {GgmlType::kQ4_0, "Q4_0", kSmallBlock, sizeof(BlockQ4_0)},
    {GgmlType::kQ4_1, "Q4_1", kSmallBlock, sizeof(BlockQ4_1)},
    {GgmlType::kQ5_0, "Q5_0", kSmallBlock, sizeof(BlockQ5_0)},
    {GgmlType::kQ5_1, "Q5_1", kSmallBlock, sizeof(BlockQ5_1)},
    {GgmlType::kQ8_0, "Q8_0", kSmallBlock, sizeof(BlockQ8_0)},
    {GgmlType::kQ2_K, "Q2_K", kSuperBlock, sizeof(BlockQ2K)},
    {GgmlType::kQ3_K, "Q3_K", kSuperBlock, sizeof(BlockQ3K)},
    {GgmlType::kQ4_K, "Q4_K", kSuperBlock, sizeof(BlockQ4K)},
    {GgmlType::kQ5_K, "Q5_K", kSuperBlock, sizeof(BlockQ5K)},
    {GgmlType::kQ6_K, "Q6_K", kSuperBlock, sizeof(BlockQ6K)},
    {GgmlType::kBF16, "BF16", 1, sizeof(BlockBF16)},
}};

}  // namespace

std::optional<GgmlTypeInfo> FindGgmlType(uint32_t number) {
  const auto* found =
      std::find_if(kTypes.begin(), kTypes.end(), [&](const GgmlTypeInfo& info) { return static_cast<uint32_t>(info.type) == number; });
  return found == kTypes.end() ? std::nullopt : std::optional(*found);
}

const GgmlTypeInfo& Info(GgmlType type) {
  const auto* found = std::find_if(kTypes.begin(), kTypes.end(), [&](const GgmlTypeInfo& info) { return info.type == type; });
  Assert(found != kTypes.end());
  return *found;
}

std::string_view GgmlTypeName(uint32_t number) {
  constexpr std::array<std::string_view, 40> kNames{
      "F32",  "F16",   "Q4_0",    "Q4_1",    "unknown", "unknown", "Q5_0",   "Q5_1",  "Q8_0",    "Q8_1",    "Q2_K",    "Q3_K", "Q4_K", "Q5_K",
      "Q6_K", "Q8_K",  "IQ2_XXS", "IQ2_XS",  "IQ3_XXS", "IQ1_S",   "IQ4_NL", "IQ3_S", "IQ2_S",   "IQ4_XS",  "I8",      "I16",  "I32",  "I64",
      "F64",  "IQ1_M", "BF16",    "unknown", "unknown", "unknown", "TQ1_0",  "TQ2_0", "unknown", "unknown", "unknown", "MXFP4"};
  return number < kNames.size() ? kNames[number] : "unknown";
}

void Dequantize(GgmlType type, std::span<const std::byte> blocks, std::span<float> out) {
  const GgmlTypeInfo& info = Info(type);
  Assert(blocks.size() % info.block_bytes == 0 && blocks.size() / info.block_bytes * info.block_elements == out.size());
  switch (type) {
    case GgmlType::kF32:
      if (!blocks.empty()) std::memcpy(out.data(), blocks.data(), blocks.size());
      return;
    case GgmlType::kF16:
      return ExpandAll<BlockF16>(blocks, out, info.block_elements);
    case GgmlType::kBF16:
      return ExpandAll<BlockBF16>(blocks, out, info.block_elements);
    case GgmlType::kQ4_0:
      return ExpandAll<BlockQ4_0>(blocks, out, info.block_elements);
    case GgmlType::kQ4_1:
      return ExpandAll<BlockQ4_1>(blocks, out, info.block_elements);
    case GgmlType::kQ5_0:
      return ExpandAll<BlockQ5_0>(blocks, out, info.block_elements);
    case GgmlType::kQ5_1:
      return ExpandAll<BlockQ5_1>(blocks, out, info.block_elements);
    case GgmlType::kQ8_0:
      return ExpandAll<BlockQ8_0>(blocks, out, info.block_elements);
    case GgmlType::kQ2_K:
      return ExpandAll<BlockQ2K>(blocks, out, info.block_elements);
    case GgmlType::kQ3_K:
      return ExpandAll<BlockQ3K>(blocks, out, info.block_elements);
    case GgmlType::kQ4_K:
      return ExpandAll<BlockQ4K>(blocks, out, info.block_elements);
    case GgmlType::kQ5_K:
      return ExpandAll<BlockQ5K>(blocks, out, info.block_elements);
    case GgmlType::kQ6_K:
      return ExpandAll<BlockQ6K>(blocks, out, info.block_elements);
  }
}

}  // namespace intaglio::checkpoint
