#include "layers/mamba.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "layers/causal_conv.h"

namespace intaglio::layers {

using graph::Builder;
using graph::Layout;
using graph::Shard;
using graph::ValueRef;

namespace {

// in_proj, each zone of its columns by its own factor.
ValueRef Project(const Builder& b, ValueRef x, const MambaConfig& c) {
  const int64_t values = c.heads * c.head_dim, keys = c.groups * c.state_dim;
  const std::array<int64_t, 5> zones{values, values, keys, keys, c.heads};
  std::vector<float> factors;
  for (size_t zone = 0; zone < zones.size(); ++zone) factors.insert(factors.end(), static_cast<size_t>(zones[zone]), c.scales[zone]);
  const ValueRef scaled = Scale(b, x, c.in_scale);
  const ValueRef projected = ColumnParallelLinear(b.In("in_proj"), scaled, static_cast<int64_t>(factors.size()), c.in_bias);
  if (std::ranges::all_of(c.scales, [](float scale) { return scale == 1; })) return projected;
  const ValueRef vector = b.Declare({.name = "mup_vector",
                                     .shape = {static_cast<int64_t>(factors.size())},
                                     .layout = Layout::kVector,
                                     .sources = {},
                                     .constant = std::make_shared<const std::vector<float>>(std::move(factors))});
  return ScaleColumns(b, projected, vector);
}

// Each group by itself; the weight is one for all columns.
ValueRef GroupNorm(const Builder& b, ValueRef x, const MambaConfig& c) {
  const int64_t cols = x.shape()[1];
  if (c.groups == 1) return RmsNorm(b, x, *c.norm);
  const ValueRef normed = UnweightedHeadNorm(b, x, cols / c.groups, c.norm->eps);
  return ScaleColumns(b, normed, b.Weight("weight", {cols}, Shard::kRows, Layout::kVector));
}

ValueRef Gate(const Builder& b, ValueRef y, ValueRef z, const MambaConfig& c) {
  const ValueRef gate = Silu(b, z);
  if (!c.norm) return Mul(b, y, gate);
  if (c.order == GateOrder::kGateFirst) return GroupNorm(b.In("norm"), Mul(b, y, gate), c);
  return Mul(b, GroupNorm(b.In("norm"), y, c), gate);
}

}  // namespace

ValueRef Mamba(const Builder& b, ValueRef x, const MambaConfig& c) {
  const graph::RecurrenceAttrs attrs{.key_heads = c.groups,
                                     .value_heads = c.heads,
                                     .key_dim = c.state_dim,
                                     .value_dim = c.head_dim,
                                     .least_step = c.least_step,
                                     .most_step = c.most_step};
  const int64_t values = attrs.value_cols(), xbc_cols = values + 2 * attrs.key_cols();
  const ValueRef projected = Project(b, x, c);
  const ValueRef z = Slice(b, projected, {.begin = 0, .size = values}), dt = Slice(b, projected, {.begin = values + xbc_cols, .size = c.heads});
  const ValueRef xbc = CausalConv(b.In("conv1d"), Slice(b, projected, {.begin = values, .size = xbc_cols}), c.taps, c.conv_bias);

  const ValueRef state = b.State({.name = "recurrent", .floats = attrs.state_floats()});
  const auto of_heads = [&](std::string_view name) { return b.Weight(name, {c.heads}, Shard::kRows, Layout::kVector); };
  const ValueRef a_log = of_heads("A_log"), dt_bias = of_heads("dt_bias"), d = of_heads("D");
  const ValueRef y = b.Emit(graph::Op::kSsmScan, {state, xbc, dt, a_log, dt_bias, d, b.slots(), b.positions()}, attrs).front();

  const ValueRef gated = Gate(b, y, z, c);
  const KSplit split{.shard = Shard::kHeadColumns, .segments = HeadSegments(c.heads, c.groups, c.head_dim)};
  return Scale(b, RowParallelLinear(b.In("out_proj"), gated, x.shape()[1], c.out_bias, split), c.out_scale);
}

}  // namespace intaglio::layers
