// What must hold between a bundle's manifest, plans and files before anything is computed with it.
#pragma once
#include "bundle/bundle.h"

namespace intaglio::bundle {

// Bytes that a weight of `rows` x `cols` takes in a weights file, whatever its layout: rows in blocks of 16, columns in pairs.
[[nodiscard]] uint64_t WeightBytes(int64_t rows, int64_t cols, DType dtype);

// Throws Error kDataLoss: every operand lies inside its space and is as large as its shape says, offsets are aligned, KV layers tile
// the pool, buckets have their plans.
void Validate(const Bundle& bundle);

}  // namespace intaglio::bundle
