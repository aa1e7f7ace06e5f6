// Rows of a quantised matrix, between whoever reads or makes them and the packing for kernels (kernels/quant_format.h says what q, d, m, s
// and t are in each format).
#pragma once
#include <cstdint>
#include <vector>

namespace intaglio {

struct QuantizedRows {
  int64_t num_rows = 0, k = 0;     // k: whole groups of the format, whole units of one with groups within units
  std::vector<uint8_t> q;          // [num_rows][k]; of MXFP4 the 4-bit floats
  std::vector<float> d, m;         // [num_rows][k / elements that share it]: scales and minima; f16 where the format has f16
  std::vector<uint8_t> s, t;       // [num_rows][k / group_k]: scales and minima of groups within units; of MXFP4, s is the exponent
};

}  // namespace intaglio
