// One weight layout for every x86 level. Columns of the product sit in lanes: N in blocks of 16, all K of a block contiguous, k ascending,
// every row of the layout 64 bytes. Columns past N are zero; an odd last k of bf16 is paired with zero.
//   f32:  [N/16][K][16]        bf16: [N/16][K/2][16][2]
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/dtype.h"
#include "kernels/kernel.h"

namespace intaglio::kernels {

// Blocks that a matrix of `n` rows is packed into.
[[nodiscard]] constexpr int64_t NumBlocks(int64_t n) { return (n + kLanes - 1) / kLanes; }
[[nodiscard]] int64_t PackedBytes(int64_t n, int64_t k, DType dtype);
// Bytes of one block of 16 columns.
[[nodiscard]] int64_t PackedBlockBytes(int64_t k, DType dtype);
// Packs up to 16 rows of a row-major matrix, given as f32 (row i at rows + i * k), into one block. dtype f32 or bf16 (rounded to nearest
// even; bf16 values that came from bf16 are unchanged). REQUIRES: 1 <= num_rows <= 16, block.size() == PackedBlockBytes(k, dtype)
void PackBlock(const float* rows, int64_t num_rows, int64_t k, DType dtype, std::span<std::byte> block);
// Same, from bf16 rows to bf16: no conversion.
void PackBlockBf16(const uint16_t* rows, int64_t num_rows, int64_t k, std::span<std::byte> block);

}  // namespace intaglio::kernels
