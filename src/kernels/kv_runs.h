// How kv_write cuts a step: a run is the rows that fall into one block of one slot. Not inline, because the code of this folder
// proper must never be compiled with the flags of a level.
#pragma once
#include <cstdint>

#include "kernels/kernel.h"
#include "kernels/kv_layout.h"

namespace intaglio::kernels {

struct KvRun {
  int64_t first_row = 0, num_rows = 0;
  int64_t block = -1;   // physical; -1 if the block table names none that exists
};

// REQUIRES: run_index < KvWriteTasks / kv heads.
[[nodiscard]] KvRun FindKvRun(const KernelCall& call, const StepView& step, int64_t run_index) noexcept;
// Columns of a value head: those of a key head unless the call says otherwise.
[[nodiscard]] int64_t ValueDim(const KernelCall& call) noexcept;
// How a head of the call's cache is stored.
[[nodiscard]] KvShape ShapeOfKv(const KernelCall& call, const Tensor& cache) noexcept;
// The physical block of a slot's tile, or -1 if the table names none within the pool.
[[nodiscard]] int64_t PhysicalBlock(const KernelCall& call, const StepView& step, int32_t slot, int64_t tile) noexcept;

}  // namespace intaglio::kernels
