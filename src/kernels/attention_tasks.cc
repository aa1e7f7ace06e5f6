#include "kernels/attention_tasks.h"

#include <algorithm>

#include "kernels/kv_runs.h"
#include "kernels/params.h"
#include "kernels/workspace.h"

namespace intaglio::kernels {
namespace {

constexpr int64_t kMaxTaskSpans = 8;

int64_t Int(const KernelCall& call, attention_params::Int index) { return call.params.ints[index]; }
int64_t LiveRows(const KernelCall& call, const StepView& step) { return std::min<int64_t>(step.num_rows, call[0].rows); }

// The cut of query heads and rows; the same for every row tile of a call.
struct Cut {
  int64_t heads_per_task, chunks_per_group, rows_per_task;
  explicit Cut(const KernelCall& call) {
    const int64_t group = Int(call, attention_params::kHeads) / Int(call, attention_params::kKvHeads);
    heads_per_task = std::min(group, kMaxTaskQueries);
    chunks_per_group = (group + heads_per_task - 1) / heads_per_task;
    rows_per_task = kMaxTaskQueries / heads_per_task;
  }
};

// The end of the row tile that starts at `row`: rows of one slot are neighbours, so equal ends mean equal slots in between.
int64_t TileEnd(const StepView& step, int64_t row, int64_t num_rows, int64_t rows_per_task) {
  int64_t end = std::min(row + rows_per_task, num_rows);
  while (step.slots[end - 1] != step.slots[row]) --end;
  return end;
}

int64_t FirstSpan(const KernelCall& call, const StepView& step, int64_t row) { return FirstVisible(call, step.positions[row]) / kSpanPositions; }
int64_t LastSpan(const KernelCall& call, const StepView& step, int64_t row) { return LastVisible(call, step, row) / kSpanPositions; }

// Tasks of one (kv head, head chunk) of rows that see spans `first` to `last`.
int64_t SpanTasks(const AttentionSplit& split, int64_t first, int64_t last) {
  return split.is_split ? last / split.spans_per_task - first / split.spans_per_task + 1 : 1;
}

}  // namespace

int64_t FirstVisible(const KernelCall& call, int64_t position) noexcept {
  const int64_t window = Int(call, attention_params::kWindow), chunk = Int(call, attention_params::kChunk);
  if (chunk != 0) return position / chunk * chunk;
  return window == 0 ? 0 : std::max<int64_t>(0, position - window + 1);
}

int64_t LastVisible(const KernelCall& call, const StepView& step, int64_t row) noexcept {
  const int64_t position = step.positions[row], window = Int(call, attention_params::kWindow);
  if (Int(call, attention_params::kBothWays) == 0) return position;
  const int64_t last = step.lengths[row] - 1;
  return window == 0 ? last : std::min(last, position + window - 1);
}

int64_t PartialFloats(int64_t v_dim) noexcept { return kPartialHeader + PaddedDim(v_dim); }

AttentionSplit SplitOfStep(const KernelCall& call, const StepView& step) noexcept {
  const int64_t num_rows = LiveRows(call, step);
  const Tensor& workspace = call[3];
  if (!workspace.is_present() || num_rows > kMaxSplitRows) return {};
  int64_t max_spans = 0, all_spans = 0;
  for (int64_t row = 0; row < num_rows; ++row) {
    const int64_t spans = LastSpan(call, step, row) - FirstSpan(call, step, row) + 1;
    max_spans = std::max(max_spans, spans), all_spans += spans;
  }
  const int64_t needed = num_rows * Int(call, attention_params::kHeads) * max_spans * PartialFloats(ValueDim(call));
  const int64_t spans_per_task = std::clamp<int64_t>(all_spans * Int(call, attention_params::kKvHeads) / kSplitTasks, 1, kMaxTaskSpans);
  return {.is_split = max_spans > 1 && needed <= workspace.rows * workspace.cols, .max_spans = max_spans, .spans_per_task = spans_per_task};
}

int64_t AttentionTasks(const KernelCall& call, const StepView& step, int stage) noexcept {
  const AttentionSplit split = SplitOfStep(call, step);
  const int64_t num_rows = LiveRows(call, step), kv_heads = Int(call, attention_params::kKvHeads);
  if (stage == 1) return split.is_split ? num_rows * kv_heads : 0;
  const Cut cut(call);
  int64_t tasks = 0;
  for (int64_t row = 0, end; row < num_rows; row = end) {
    end = TileEnd(step, row, num_rows, cut.rows_per_task);
    tasks += kv_heads * cut.chunks_per_group * SpanTasks(split, FirstSpan(call, step, row), LastSpan(call, step, end - 1));
  }
  return tasks;
}

AttentionTask FindAttentionTask(const KernelCall& call, const StepView& step, int64_t task) noexcept {
  const AttentionSplit split = SplitOfStep(call, step);
  const int64_t num_rows = LiveRows(call, step), kv_heads = Int(call, attention_params::kKvHeads);
  if (!split.is_split) task = AttentionTasks(call, step, 0) - 1 - task;   // long contexts first: threads then end together
  const Cut cut(call);
  int64_t row = 0, end = 0, spans = 0;
  for (;; row = end) {
    end = TileEnd(step, row, num_rows, cut.rows_per_task);
    spans = SpanTasks(split, FirstSpan(call, step, row), LastSpan(call, step, end - 1));
    const int64_t tile_tasks = kv_heads * cut.chunks_per_group * spans;
    if (task < tile_tasks) break;
    task -= tile_tasks;
  }
  const int64_t span = task % spans, chunk = task / spans % cut.chunks_per_group, kv_head = task / spans / cut.chunks_per_group;
  const int64_t group = Int(call, attention_params::kHeads) / kv_heads, first_span = FirstSpan(call, step, row),
                last_span = LastSpan(call, step, end - 1);
  const int64_t split_begin = (first_span / split.spans_per_task + span) * split.spans_per_task;
  return {.first_row = row,
          .num_rows = end - row,
          .kv_head = kv_head,
          .first_head = kv_head * group + chunk * cut.heads_per_task,
          .num_heads = std::min(cut.heads_per_task, group - chunk * cut.heads_per_task),
          .first_span = split.is_split ? std::max(first_span, split_begin) : first_span,
          .last_span = split.is_split ? std::min(last_span, split_begin + split.spans_per_task - 1) : last_span};
}

int64_t AttentionWorkspaceBytes(int64_t rows, int64_t heads, int64_t, int64_t v_dim, int64_t max_context) {
  const int64_t max_spans = (max_context + kSpanPositions - 1) / kSpanPositions;
  if (rows > kMaxSplitRows || max_spans <= 1) return 0;
  return rows * heads * max_spans * PartialFloats(v_dim) * static_cast<int64_t>(sizeof(float));
}

}  // namespace intaglio::kernels
