// How a matmul is cut into tasks: rows into chunks, columns into groups of blocks (16 columns each); and the packing of activations into
// chunks and ranges of k. The cut depends on shapes alone, and never changes a bit.
#pragma once
#include <cstdint>

#include "kernels/kernel.h"

namespace intaglio::kernels {

inline constexpr int64_t kMatMulChunkRows = 96;   // most rows of a chunk

struct IndexRange {
  int64_t begin = 0, end = 0;
};

// The `index`-th of `count` nearly equal parts of [0, size).
[[nodiscard]] IndexRange Part(int64_t size, int64_t index, int64_t count) noexcept;

struct MatMulCut {
  int64_t rows = 0;              // live rows
  int64_t row_chunks = 0;
  int64_t blocks = 0;            // of 16 columns
  int64_t blocks_per_task = 0;   // a multiple of four
  int64_t block_groups = 0;
  int64_t k_ranges = 0;          // that the activations of a chunk are packed in
};

[[nodiscard]] MatMulCut CutMatMul(const KernelCall& call, const StepView& step) noexcept;

// Tasks of a matmul's stage: 0 packs the activations, 1 multiplies. A single row needs no packing.
[[nodiscard]] int64_t MatMulTasks(const KernelCall& call, const StepView& step, int stage) noexcept;

}  // namespace intaglio::kernels
