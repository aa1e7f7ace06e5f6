// Shapes and non-owning views of dense row-major tensors.
#pragma once
#include <cstddef>
#include <cstdint>
#include <ostream>
#include <span>
#include <vector>

#include "base/dtype.h"

namespace intaglio {

// Sizes per dimension, outermost first. An empty shape is a scalar.
struct Shape : std::vector<int64_t> {
  using std::vector<int64_t>::vector;
  // REQUIRES: the product fits in int64 (parsers check outside input before they build a Shape).
  [[nodiscard]] int64_t num_elements() const {
    int64_t count = 1;
    for (int64_t size : *this) count *= size;
    return count;
  }
};

inline std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  out << '[';
  for (size_t i = 0; i < shape.size(); ++i) out << (i == 0 ? "" : ", ") << shape[i];
  return out << ']';
}

// A dense row-major tensor that somebody else owns (usually a mapped file). May be unaligned: read elements by memcpy.
struct TensorView {
  DType dtype = DType::kF32;
  Shape shape;
  std::span<const std::byte> bytes;
};

}  // namespace intaglio
