// What both kinds of checkpoint do with rows of plain elements. Pure functions.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/tensor.h"

namespace intaglio::checkpoint {

// A tensor as the matrix that ReadRows sees: [product of all sizes but the last, last size]; a vector or a scalar is one row.
struct MatrixSize {
  int64_t rows = 1, columns = 1;
};
[[nodiscard]] MatrixSize AsMatrix(const Shape& shape);

// Bytes of rows [begin, begin + count) of a plain tensor.   REQUIRES: the rows exist, and num_elements is count * columns.
[[nodiscard]] std::span<const std::byte> RowBytes(const TensorView& tensor, int64_t begin, int64_t count, size_t num_elements);

// f32, f16, bf16 or u8 elements as f32; exact.   REQUIRES: bytes.size() == out.size() * SizeOf(dtype)
void WidenElements(DType dtype, std::span<const std::byte> bytes, std::span<float> out);

// Digest of a file's header, its size and the two ends of its data. Reads few pages, however large the file.
[[nodiscard]] std::string FileDigest(std::span<const std::byte> header, std::span<const std::byte> file);

}  // namespace intaglio::checkpoint
