// How attention cuts a step into tasks. The queries of a task are some rows of one slot times some query heads that share one
// key/value head, so that a KV tile is loaded once for all of them. The cut never changes a bit: every query walks its own tiles.
//
// Whole: a task walks all spans of its rows and writes the output. Split: a task walks a few spans and leaves a partial result of each in W,
// stage 1 merges them; chosen where few rows look far back, so that threads share one long context.
#pragma once
#include <cstdint>

#include "kernels/kernel.h"

namespace intaglio::kernels {

inline constexpr int64_t kMaxHeadDim = 576;         // of keys: a task's queries fit a worker's scratch
inline constexpr int64_t kMaxValueDim = 512;
inline constexpr int64_t kMaxTaskQueries = 64;      // rows times heads of one attention task
inline constexpr int64_t kMaxSplitRows = 16;        // more rows than this are never split over spans
inline constexpr int64_t kSpanPositions = kKvTile * kKvSpanTiles;
inline constexpr int64_t kSplitTasks = 64;          // wanted of a step that is split: enough for any number of threads to end together
inline constexpr int64_t kPartialHeader = kLanes;   // floats before a partial output in W: its maximum, its sum, padding

struct AttentionTask {
  int64_t first_row = 0, num_rows = 0;
  int64_t kv_head = 0;
  int64_t first_head = 0, num_heads = 0;     // query heads, all of the group of kv_head
  int64_t first_span = 0, last_span = 0;     // inclusive
};

// Whether the step is split over spans, the partial results that each (row, head) has room for, and the spans of a task: those of one number
// divided by spans_per_task. A task's first tile comes late, the others are fetched while it computes, so that few long tasks read faster.
struct AttentionSplit {
  bool is_split = false;
  int64_t max_spans = 0, spans_per_task = 1;
};

[[nodiscard]] AttentionSplit SplitOfStep(const KernelCall& call, const StepView& step) noexcept;
// REQUIRES: task < AttentionTasks(call, step, 0)
[[nodiscard]] AttentionTask FindAttentionTask(const KernelCall& call, const StepView& step, int64_t task) noexcept;
// The first and the last position that a query at `position` sees; it sees all between. `row` is its row of the step.
[[nodiscard]] int64_t FirstVisible(const KernelCall& call, int64_t position) noexcept;
[[nodiscard]] int64_t LastVisible(const KernelCall& call, const StepView& step, int64_t row) noexcept;
// Floats of one partial result.
[[nodiscard]] int64_t PartialFloats(int64_t v_dim) noexcept;

}  // namespace intaglio::kernels
