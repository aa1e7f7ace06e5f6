#include "layers/causal_conv.h"

#include <utility>
#include <vector>

#include "base/strings.h"

namespace intaglio::layers {

using graph::Builder;
using graph::ValueRef;

ValueRef CausalConv(const Builder& b, ValueRef x, const OwnRows& columns, int64_t taps, Bias bias) {
  const int64_t cols = columns.size();
  // Kernels take columns in lanes: one row a tap, of every taps-th element.
  std::vector<graph::WeightSource> sources;
  for (int64_t tap = 0; tap < taps; ++tap) {
    for (const Range& range : columns.ranges) {
      sources.push_back({.name = StrCat(b.scope(), ".weight"),
                         .shape = {columns.all, 1, taps},
                         .shard = columns.shard,
                         .view = graph::SourceView::kElements,
                         .first_row = range.begin * taps + tap,
                         .num_rows = range.size(),
                         .row_step = taps});
    }
  }
  const ValueRef weight = b.Declare({.name = "weight", .shape = {taps, cols}, .layout = graph::Layout::kTable, .sources = std::move(sources)});
  const ValueRef state = b.State({.name = "conv", .floats = cols, .lookback = taps - 1});
  std::vector<ValueRef> operands{state, x, weight, b.slots(), b.positions()};
  if (bias == Bias::kAdded) operands.push_back(DeclareRows(b, columns, {.name = "bias"}));
  return b.Emit(graph::Op::kCausalConv, operands, graph::ConvAttrs{.has_bias = bias == Bias::kAdded}).front();
}

}  // namespace intaglio::layers
