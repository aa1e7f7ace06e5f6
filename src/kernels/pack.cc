#include "kernels/pack.h"

#include <algorithm>
#include <cstring>

#include "base/assert.h"
#include "kernels/kernel.h"
#include "kernels/quant_format.h"

namespace intaglio::kernels {
namespace {

constexpr int64_t kPair = 2;   // bf16 pairs neighbouring k, so that a lane of a line holds both

int64_t NumLines(int64_t k, DType dtype) { return dtype == DType::kBF16 ? (k + kPair - 1) / kPair : k; }

// Writes element (row i, column j) to out(i, j), by squares of 16 x 16, so that both sides stay in L1.
template <typename T, typename Convert, typename Out>
void Transpose(const T* rows, int64_t num_rows, int64_t k, Convert convert, Out out) {
  for (int64_t begin = 0; begin < k; begin += kLanes) {
    const int64_t end = std::min(k, begin + kLanes);
    for (int64_t i = 0; i < num_rows; ++i) {
      for (int64_t j = begin; j < end; ++j) out(i, j) = convert(rows[i * k + j]);
    }
  }
}

template <typename T, typename Convert>
void PackPairs(const T* rows, int64_t num_rows, int64_t k, std::span<std::byte> block, Convert convert) {
  auto* out = reinterpret_cast<uint16_t*>(block.data());
  if (num_rows < kLanes || k % kPair != 0) std::memset(block.data(), 0, block.size());
  Transpose(rows, num_rows, k, convert, [out](int64_t i, int64_t j) -> uint16_t& { return out[(j / kPair * kLanes + i) * kPair + j % kPair]; });
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
  if (dtype == DType::kBF16) return PackPairs(rows, num_rows, k, block, F32ToBf16);
  auto* out = reinterpret_cast<float*>(block.data());
  if (num_rows < kLanes) std::memset(block.data(), 0, block.size());
  Transpose(rows, num_rows, k, [](float x) { return x; }, [out](int64_t i, int64_t j) -> float& { return out[j * kLanes + i]; });
}

void PackBlockBf16(const uint16_t* rows, int64_t num_rows, int64_t k, std::span<std::byte> block) {
  Assert(num_rows >= 1 && num_rows <= kLanes && std::ssize(block) == PackedBlockBytes(k, DType::kBF16));
  PackPairs(rows, num_rows, k, block, [](uint16_t bits) { return bits; });
}

}  // namespace intaglio::kernels
