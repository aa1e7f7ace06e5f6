// Quantised weights: integers q of a few bits in groups of `group_k` along K that share a scale d, and in some formats a minimum m:
// w = d * (q - zero) or w = d * q + m. Values are those that GGUF defines for its formats, bit for bit.
//
// One packing for every x86 level, as in pack.h: N in blocks of 16 columns, all K of a block contiguous, k ascending, lines of 64 bytes.
// K is cut into units of `unit_k`, the last one padded with zeros. A unit is its header, then for each 32 k ascending the lines of
// the higher bits and the base lines. With c a column of the block, i in 0 .. 3, and steps of 4 k:
//   8 bits:  a line is a step,     byte [c][i] = q of k = 4 s + i (s: the step within the unit)
//   4 bits:  a line is two steps,  byte [c][i]: the low half is k = 8 t + i, the high half k = 8 t + 4 + i (t: the line within the unit)
//   2 bits:  a line is four steps, byte [c][i]: bits 2 s and 2 s + 1 are k = 4 s + i (s: the step within the line)
//   1 bit:   a line is eight steps, byte [c][i]: bit s is k = 4 s + i
//   5 = 4 + 1 bits and 6 = 4 + 2 bits: one line (two lines) of the higher bits of 32 k, then their four 4-bit lines
//   3 = 2 + 1 bits: one line of the third bits of 32 k, then their two 2-bit lines
// Kernels first touch a unit's lines in ascending order: with the higher bits after the lower ones, decoding was 1.6 to 2.6 times slower (Zen 4).
// Headers:
//   kPairF16     one line  [2 groups][16] f16 d                      two groups of 32
//   kF32         one line  [16] f32 d                                one group
//   kF16Min      one line  [16] f16 d, [16] f16 m                    one group
//   kSubMin8     one line  [16] f16 d, [16] f16 m, then four lines [8 groups of 32]{[16] u8 s, [16] u8 t}:   d s q - m t
//   kSubMin16    one line  [16] f16 d, [16] f16 m, then four lines [16 groups of 16][16] u8 s | t << 4:      d s q - m t
//   kSub16       one line  [16] f32 d, then four lines [16 groups of 16][16] s8 s:                           d s (q - zero)
//   kExponent    one line  [4 groups][16] u8 e                       four groups of 32: 2^(e - 128) times twice the 4-bit float
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/dtype.h"
#include "base/quantized_rows.h"

namespace intaglio::kernels {

enum class QuantHeader : uint8_t { kPairF16, kF32, kF16Min, kSubMin8, kSubMin16, kSub16, kExponent };

struct QuantFormat {
  DType dtype;
  QuantHeader header;
  int bits;                 // of q: 2, 3, 4, 5, 6 or 8
  int zero;                 // what q is for w = 0, where there is no minimum
  int64_t unit_k;           // K is padded to whole units; segments of a matmul begin at units
  int64_t group_k;          // weights that share a scale
  int64_t activation_k;     // activations that share a scale: group_k, or two of them
  int64_t header_lines;

  [[nodiscard]] constexpr bool has_min() const {
    return header == QuantHeader::kF16Min || header == QuantHeader::kSubMin8 || header == QuantHeader::kSubMin16;
  }
  [[nodiscard]] constexpr int64_t unit_lines() const { return header_lines + unit_k * bits / 32; }
  [[nodiscard]] constexpr int64_t unit_bytes() const { return unit_lines() * 64; }
  [[nodiscard]] constexpr int64_t num_units(int64_t k) const { return (k + unit_k - 1) / unit_k; }
};

inline constexpr QuantFormat kQuantFormats[]{
    {DType::kQ8_0, QuantHeader::kPairF16, 8, 128, 64, 32, 32, 1},     {DType::kInt8G64, QuantHeader::kF32, 8, 128, 64, 64, 64, 1},
    {DType::kInt8G128, QuantHeader::kF32, 8, 128, 128, 128, 128, 1},  {DType::kQ4_0, QuantHeader::kPairF16, 4, 8, 64, 32, 32, 1},
    {DType::kQ4_1, QuantHeader::kF16Min, 4, 0, 32, 32, 32, 1},        {DType::kInt4G64, QuantHeader::kF16Min, 4, 0, 64, 64, 64, 1},
    {DType::kInt4G128, QuantHeader::kF16Min, 4, 0, 128, 128, 128, 1}, {DType::kQ5_0, QuantHeader::kPairF16, 5, 16, 64, 32, 32, 1},
    {DType::kQ5_1, QuantHeader::kF16Min, 5, 0, 32, 32, 32, 1},        {DType::kQ2_K, QuantHeader::kSubMin16, 2, 0, 256, 16, 32, 5},
    {DType::kQ3_K, QuantHeader::kSub16, 3, 4, 256, 16, 32, 5},        {DType::kQ4_K, QuantHeader::kSubMin8, 4, 0, 256, 32, 32, 5},
    {DType::kQ5_K, QuantHeader::kSubMin8, 5, 0, 256, 32, 32, 5},      {DType::kQ6_K, QuantHeader::kSub16, 6, 32, 256, 16, 32, 5},
    {DType::kMxfp4, QuantHeader::kExponent, 4, 0, 128, 32, 32, 1}};

inline constexpr int64_t kLargestUnitK = 256;   // a multiple of every unit_k

// REQUIRES: IsQuantized(dtype)
[[nodiscard]] constexpr const QuantFormat& FormatOf(DType dtype) { return kQuantFormats[static_cast<int>(dtype) - static_cast<int>(DType::kQ8_0)]; }
// The unit that segments of K begin at; 1 where any k will do.
[[nodiscard]] constexpr int64_t SegmentUnit(DType dtype) { return IsQuantized(dtype) ? FormatOf(dtype).unit_k : 1; }

// One element of a packed block, as f32, exactly: column `lane` of the block, row k of K.   REQUIRES: IsQuantized(dtype)
[[nodiscard]] float UnpackQuantized(DType dtype, const std::byte* block, int64_t lane, int64_t k);

// Packs up to 16 rows into one block.   REQUIRES: block.size() == PackedBlockBytes(rows.k, dtype), 1 <= rows.num_rows <= 16
void PackQuantizedBlock(DType dtype, const QuantizedRows& rows, std::span<std::byte> block);

}  // namespace intaglio::kernels
