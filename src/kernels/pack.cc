#include "kernels/pack.h"

#include <emmintrin.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/assert.h"
#include "kernels/kernel.h"
#include "kernels/quant_format.h"

namespace intaglio::kernels {
namespace {

constexpr int64_t kPair = 2;   // bf16 pairs neighbouring k, so that a lane of a line holds both

int64_t NumLines(int64_t k, DType dtype) { return dtype == DType::kBF16 ? (k + kPair - 1) / kPair : k; }

// Word j of row i becomes word i of line j. Four by four words at a time, which SSE2 turns in registers.
struct WordRows {
  const std::byte* first;
  int64_t stride, count;   // bytes from one row to the next; rows
};
void TurnWords(const WordRows& rows, int64_t num_words, std::byte* lines) {
  constexpr int64_t kWord = sizeof(uint32_t), kSquare = 4, kLine = kLanes * kWord;
  int64_t word = 0;
  for (; rows.count == kLanes && word + kSquare <= num_words; word += kSquare) {
    for (int64_t row = 0; row < kLanes; row += kSquare) {
      const auto load = [&](int64_t i) {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows.first + (row + i) * rows.stride + word * kWord));
      };
      const auto store = [&](int64_t i, __m128i x) { _mm_storeu_si128(reinterpret_cast<__m128i*>(lines + (word + i) * kLine + row * kWord), x); };
      const __m128i a = load(0), b = load(1), c = load(2), d = load(3);
      const __m128i ab = _mm_unpacklo_epi32(a, b), cd = _mm_unpacklo_epi32(c, d), ab_high = _mm_unpackhi_epi32(a, b),
                    cd_high = _mm_unpackhi_epi32(c, d);
      store(0, _mm_unpacklo_epi64(ab, cd)), store(1, _mm_unpackhi_epi64(ab, cd));
      store(2, _mm_unpacklo_epi64(ab_high, cd_high)), store(3, _mm_unpackhi_epi64(ab_high, cd_high));
    }
  }
  for (; word < num_words; ++word) {
    for (int64_t row = 0; row < rows.count; ++row)
      std::memcpy(lines + word * kLine + row * kWord, rows.first + row * rows.stride + word * kWord, kWord);
  }
}

}  // namespace

int64_t PackedBlockBytes(int64_t k, DType dtype) {
  if (IsQuantized(dtype)) return FormatOf(dtype).num_units(k) * FormatOf(dtype).unit_bytes();
  Assert(dtype == DType::kF32 || dtype == DType::kBF16);
  return NumLines(k, dtype) * kLanes * static_cast<int64_t>(sizeof(float));
}

int64_t PackedBytes(int64_t n, int64_t k, DType dtype) { return NumBlocks(n) * PackedBlockBytes(k, dtype); }

void PackBlock(const float* rows, int64_t num_rows, int64_t k, DType dtype, std::span<std::byte> block) {
  Assert(num_rows >= 1 && num_rows <= kLanes && std::ssize(block) == PackedBlockBytes(k, dtype));
  if (dtype == DType::kBF16) {
    std::vector<uint16_t> narrow(static_cast<size_t>(num_rows * k));
    std::transform(rows, rows + num_rows * k, narrow.begin(), F32ToBf16);
    return PackBlockBf16(narrow.data(), num_rows, k, block);
  }
  if (num_rows < kLanes) std::memset(block.data(), 0, block.size());
  TurnWords({.first = reinterpret_cast<const std::byte*>(rows), .stride = k * static_cast<int64_t>(sizeof *rows), .count = num_rows}, k,
            block.data());
}

void PackBlockBf16(const uint16_t* rows, int64_t num_rows, int64_t k, std::span<std::byte> block) {
  Assert(num_rows >= 1 && num_rows <= kLanes && std::ssize(block) == PackedBlockBytes(k, DType::kBF16));
  if (num_rows < kLanes || k % kPair != 0) std::memset(block.data(), 0, block.size());
  const int64_t stride = k * static_cast<int64_t>(sizeof *rows);
  TurnWords({.first = reinterpret_cast<const std::byte*>(rows), .stride = stride, .count = num_rows}, k / kPair, block.data());
  if (k % kPair == 0) return;
  for (int64_t row = 0; row < num_rows; ++row)   // the last k by itself
    std::memcpy(block.data() + (k / kPair * kLanes + row) * kPair * static_cast<int64_t>(sizeof *rows), rows + row * k + k - 1, sizeof *rows);
}

}  // namespace intaglio::kernels
