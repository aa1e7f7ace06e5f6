// From f32 rows to rows in groups that share a scale, or a scale and a minimum: the ones of int8 and int4 that lose least. Pure functions of
// IEEE additions and multiplications in a fixed order, so that every CPU makes the same bits.
#pragma once
#include <cstdint>
#include <optional>
#include <span>

#include "base/dtype.h"
#include "base/quantized_rows.h"

namespace intaglio::compiler {

// Rows [num_rows][k] into `out`, whose k is rounded up to a whole group. False if a number among them is infinite or none, or too large for
// an f16 scale: then `out` is not defined.
// `dtype`: kQ8_0, kInt8G64, kInt8G128, kQ4_1, kInt4G64 or kInt4G128.   REQUIRES: rows.size() == num_rows * k
[[nodiscard]] bool Quantize(DType dtype, std::span<const float> rows, int64_t num_rows, QuantizedRows& out);

}  // namespace intaglio::compiler
