// GGML's blocks taken apart: quants in the order of their elements, scales and minima beside them, nothing rounded. Pure functions.
#pragma once
#include <optional>
#include <span>

#include "base/dtype.h"
#include "base/quantized_rows.h"
#include "checkpoint/gguf_dequantize.h"

namespace intaglio::checkpoint {

// nullopt for types whose elements stand alone.
[[nodiscard]] std::optional<DType> QuantizedType(GgmlType type);

// Adds the numbers of whole blocks to those that `rows` has; num_rows and k are the caller's. REQUIRES: QuantizedType(type),
// blocks.size() is a multiple of block_bytes
void AppendBlocks(GgmlType type, std::span<const std::byte> blocks, QuantizedRows& rows);

}  // namespace intaglio::checkpoint
