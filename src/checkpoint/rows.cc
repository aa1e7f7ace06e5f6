#include "checkpoint/rows.h"

#include <algorithm>
#include <cstring>

#include "base/assert.h"
#include "base/hash.h"
#include "base/strings.h"

namespace intaglio::checkpoint {

MatrixSize AsMatrix(const Shape& shape) {
  MatrixSize size;
  for (size_t i = 0; i < shape.size(); ++i) (i + 1 < shape.size() ? size.rows : size.columns) *= shape[i];
  return size;
}

std::span<const std::byte> RowBytes(const TensorView& tensor, int64_t begin, int64_t count, size_t num_elements) {
  const MatrixSize size = AsMatrix(tensor.shape);
  Assert(begin >= 0 && count >= 0 && begin <= size.rows && count <= size.rows - begin);
  Assert(num_elements == static_cast<size_t>(count * size.columns));
  const size_t row_bytes = static_cast<size_t>(size.columns) * SizeOf(tensor.dtype);
  return tensor.bytes.subspan(static_cast<size_t>(begin) * row_bytes, static_cast<size_t>(count) * row_bytes);
}

void WidenElements(DType dtype, std::span<const std::byte> bytes, std::span<float> out) {
  Assert(bytes.size() == out.size() * SizeOf(dtype));
  if (out.empty()) return;
  if (dtype == DType::kF32) {
    std::memcpy(out.data(), bytes.data(), bytes.size());
    return;
  }
  if (dtype == DType::kU8) {
    std::transform(bytes.begin(), bytes.end(), out.begin(), [](std::byte byte) { return static_cast<float>(std::to_integer<int>(byte)); });
    return;
  }
  Assert(dtype == DType::kF16 || dtype == DType::kBF16);
  const auto convert = [&](auto widen) {
    for (size_t i = 0; i < out.size(); ++i) {
      uint16_t bits = 0;
      std::memcpy(&bits, bytes.data() + 2 * i, 2);
      out[i] = widen(bits);
    }
  };
  if (dtype == DType::kF16) {
    convert([](uint16_t bits) { return F16ToF32(bits); });
  } else {
    convert([](uint16_t bits) { return Bf16ToF32(bits); });
  }
}

std::string FileDigest(std::span<const std::byte> header, std::span<const std::byte> file) {
  constexpr size_t kSampleBytes = 4096;
  const auto data = file.subspan(header.size());
  const size_t sample = std::min(kSampleBytes, data.size());
  const std::string parts = StrCat(HashHex(header), HashHex(data.first(sample)), HashHex(data.last(sample)), file.size());
  return HashHex(std::as_bytes(std::span(parts)));
}

}  // namespace intaglio::checkpoint
