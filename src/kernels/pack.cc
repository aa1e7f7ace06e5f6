#include "kernels/pack.h"

#include <algorithm>
#include <cstring>

#include "base/assert.h"
#include "kernels/kernel.h"

namespace intaglio::kernels {
namespace {

constexpr int64_t kBf16Interleave = 2;

int64_t PackedRows(int64_t k, DType dtype) { return dtype == DType::kBF16 ? (k + 1) / kBf16Interleave : k; }

// Element (k, column) of a packed bf16 block.
int64_t Bf16Index(int64_t k, int64_t column) { return (k / kBf16Interleave * kLanes + column) * kBf16Interleave + k % kBf16Interleave; }

template <typename T, typename Convert>
void PackBf16Rows(const T* rows, int64_t num_rows, int64_t k, std::span<std::byte> block, const Convert& convert) {
  auto* out = reinterpret_cast<uint16_t*>(block.data());
  std::memset(block.data(), 0, block.size());
  for (int64_t row = 0; row < num_rows; ++row) {
    for (int64_t i = 0; i < k; ++i) out[Bf16Index(i, row)] = convert(rows[row * k + i]);
  }
}

}  // namespace

int64_t PackedBlockBytes(int64_t k, DType dtype) {
  Assert(dtype == DType::kF32 || dtype == DType::kBF16);
  return PackedRows(k, dtype) * kLanes * static_cast<int64_t>(sizeof(float));
}

int64_t PackedBytes(int64_t n, int64_t k, DType dtype) { return (n + kLanes - 1) / kLanes * PackedBlockBytes(k, dtype); }

void PackBlock(const float* rows, int64_t num_rows, int64_t k, DType dtype, std::span<std::byte> block) {
  Assert(num_rows >= 1 && num_rows <= kLanes && static_cast<int64_t>(block.size()) == PackedBlockBytes(k, dtype));
  if (dtype == DType::kBF16) {
    PackBf16Rows(rows, num_rows, k, block, F32ToBf16);
    return;
  }
  auto* out = reinterpret_cast<float*>(block.data());
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t column = 0; column < kLanes; ++column) out[i * kLanes + column] = column < num_rows ? rows[column * k + i] : 0.0f;
  }
}

void PackBlockBf16(const uint16_t* rows, int64_t num_rows, int64_t k, std::span<std::byte> block) {
  Assert(num_rows >= 1 && num_rows <= kLanes && static_cast<int64_t>(block.size()) == PackedBlockBytes(k, DType::kBF16));
  PackBf16Rows(rows, num_rows, k, block, [](uint16_t bits) { return bits; });
}

}  // namespace intaglio::kernels
