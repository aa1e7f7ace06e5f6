#include "kernels/expert_exchange.h"

#include <algorithm>

#include "kernels/checks.h"
#include "kernels/expert_rows.h"
#include "kernels/params.h"
#include "kernels/workspace.h"

namespace intaglio::kernels {
namespace {

const int64_t* ExpertBorders(const KernelCall& call) { return &call.params.ints[exchange_params::kBorders]; }

int64_t RowsOf(const KernelCall& call, const StepView& step) { return std::min<int64_t>(step.num_rows, call[1].rows); }

// The rows of y that a rank's experts made: within those that are live, and no other rank's, whatever a hostile plan put into offsets. So
// every choice is sent, received or neither, which is why W has room for all.
RowRange RowsMadeBy(const KernelCall& call, const StepView& step, int rank) {
  const int64_t live = RowsOf(call, step) * call[1].cols;
  RowRange rows;
  for (int r = 0; r <= rank; ++r) rows = {rows.end, std::clamp<int64_t>(call[2].i32()[ExpertBorders(call)[r + 1]], rows.end, live)};
  return rows;
}

// Calls do(row of y) for what `maker`'s experts made of `reader`'s share of rows, in the order in which it travels.
template <typename Do>
void ForEachRow(const KernelCall& call, const StepView& step, const RankOf& maker, int reader, const Do& action) {
  const Tensor& positions = call[1];
  const RowRange made = RowsMadeBy(call, step, maker.rank), rows = ShareOfRows(RowsOf(call, step), reader, maker.num_ranks);
  if (made.size() == 0) return;
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    for (int64_t j = 0; j < positions.cols; ++j) {
      const int64_t position = positions.i32(row)[j];   // -1 of a choice that its expert had no room for
      if (position >= made.begin && position < made.end) action(position);
    }
  }
}

}  // namespace

int64_t ExpertExchangeWorkspaceBytes(int64_t rows, int64_t top_k, int64_t cols) { return rows * top_k * cols * static_cast<int64_t>(sizeof(float)); }

const char* CheckExpertExchange(const KernelCall& call, const RankOf& own) noexcept {
  const Tensor &y = call[0], &positions = call[1], &offsets = call[2], &workspace = call[3];
  if (!IsMatrix(y)) return "y is not an f32 matrix";
  if (positions.rows < 1 || positions.cols < 1 || positions.cols > route_params::kMaxTopK || !IsChoices(positions, positions.rows, positions.cols))
    return "the positions are not one for each choice";
  if (y.rows % positions.cols != 0 || y.rows / positions.cols != positions.rows) return "y has not one row for each choice";
  if (!IsOffsets(offsets)) return "the offsets are not one for each expert";
  const int64_t* borders = ExpertBorders(call);
  if (borders[0] != 0 || borders[own.num_ranks] != offsets.cols - 1 || !std::is_sorted(borders, borders + own.num_ranks + 1))
    return "the ranks' experts are not all that the offsets are of";
  if (!IsMatrix(workspace) || workspace.rows != 1 || workspace.cols / y.rows < y.cols) return "the workspace is too small";
  return call.params.ints[kDomain] == static_cast<int64_t>(Domain::kRows) ? CheckDomain(call) : "the call must follow the rows";
}

ExpertRowExchange PackExpertRows(const KernelCall& call, const StepView& step, const RankOf& own) noexcept {
  const Tensor& y = call[0];
  const auto row_bytes = y.cols * static_cast<int64_t>(sizeof(float));
  ExpertRowExchange exchange;
  int64_t sent = 0, received = 0;
  for (int rank = 0; rank < own.num_ranks; ++rank) {
    if (rank != own.rank) {
      ForEachRow(call, step, own, rank, [&](int64_t row) { std::copy_n(y.f32(row), y.cols, call[3].f32() + sent++ * y.cols); });
      ForEachRow(call, step, {.rank = rank, .num_ranks = own.num_ranks}, own.rank, [&](int64_t) { ++received; });
    }
    exchange.to_borders[static_cast<size_t>(rank) + 1] = sent * row_bytes;
    exchange.from_borders[static_cast<size_t>(rank) + 1] = received * row_bytes;
  }
  exchange.to = {call[3].data, static_cast<size_t>(sent * row_bytes)};
  exchange.from = {call[3].data + sent * row_bytes, static_cast<size_t>(received * row_bytes)};
  return exchange;
}

void UnpackExpertRows(const KernelCall& call, const StepView& step, const RankOf& own, const ExpertRowExchange& exchange) noexcept {
  const Tensor& y = call[0];
  const auto* from = reinterpret_cast<const float*>(exchange.from.data());
  for (int rank = 0; rank < own.num_ranks; ++rank) {
    if (rank == own.rank) continue;
    ForEachRow(call, step, {.rank = rank, .num_ranks = own.num_ranks}, own.rank, [&](int64_t row) {
      std::copy_n(from, y.cols, y.f32(row));
      from += y.cols;
    });
  }
}

}  // namespace intaglio::kernels
