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
using graph::SliceAttrs;
using graph::ValueRef;

namespace {

// Of everything in a layer this rank's part: value heads, and the groups whose B and C they read.
struct OwnMamba {
  OwnHeads heads;
  OwnRows projected, convolved, values, of_heads;   // rows of in_proj; columns of the convolution; of values; numbers a head
};

// Ranges of the zones, each beginning where the one before it ends, from `first` on: values, then B and C of the groups.
std::vector<Range> ValuesAndKeys(const OwnHeads& heads, const MambaConfig& c, int64_t first) {
  const int64_t values = c.heads * c.head_dim, keys = c.groups * c.state_dim;
  std::vector<Range> ranges = heads.QueryRows(c.head_dim, first);
  for (int64_t zone : {first + values, first + values + keys}) {
    for (const Range& range : heads.KvRows(c.state_dim, zone)) ranges.push_back(range);
  }
  return ranges;
}

OwnMamba OwnOf(const MambaConfig& c, const graph::RankPlace& place) {
  const int64_t values = c.heads * c.head_dim, xbc = values + 2 * c.groups * c.state_dim;
  const OwnHeads heads = HeadsOf(c.heads, c.groups, place);
  std::vector<Range> projected = heads.QueryRows(c.head_dim);   // the gate
  for (const Range& range : ValuesAndKeys(heads, c, values)) projected.push_back(range);
  for (const Range& range : heads.QueryRows(1, values + xbc)) projected.push_back(range);
  return {.heads = heads,
          .projected = {.all = values + xbc + c.heads, .ranges = Joined(projected)},
          .convolved = {.all = xbc, .ranges = Joined(ValuesAndKeys(heads, c, 0))},
          .values = {.all = values, .ranges = heads.QueryRows(c.head_dim)},
          .of_heads = {.all = c.heads, .ranges = heads.QueryRows(1)}};
}

// in_proj, each zone of its columns by its own factor.
ValueRef Project(const Builder& b, ValueRef x, const MambaConfig& c, const OwnMamba& own) {
  const ValueRef scaled = Scale(b, x, c.in_scale);
  const ValueRef projected = ColumnParallelLinear(b.In("in_proj"), scaled, own.projected, c.in_bias);
  if (std::ranges::all_of(c.scales, [](float scale) { return scale == 1; })) return projected;
  const int64_t values = own.values.size(), keys = std::ssize(own.heads.kv) * c.state_dim;
  const std::array<int64_t, 5> zones{values, values, keys, keys, own.of_heads.size()};
  std::vector<float> factors;
  for (size_t zone = 0; zone < zones.size(); ++zone) factors.insert(factors.end(), static_cast<size_t>(zones[zone]), c.scales[zone]);
  const ValueRef vector = b.Declare({.name = "mup_vector",
                                     .shape = {own.projected.size()},
                                     .layout = Layout::kVector,
                                     .sources = {},
                                     .constant = std::make_shared<const std::vector<float>>(std::move(factors))});
  return ScaleColumns(b, projected, vector);
}

// Each group by itself; the weight is one for all columns. x: null from a rank without heads.
class GroupNorm {
 public:
  GroupNorm(const Builder& b, const MambaConfig& c, const OwnRows& own) : b_(b), c_(c), own_(own) {
    const graph::Segments segments = HeadSegments(c.heads, c.groups, c.head_dim);
    graph::RankPlace place = b.place();
    borders_.fill(own.all);
    borders_.front() = 0;
    for (place.rank = 0; place.rank < place.tp_degree; ++place.rank) {
      const int64_t end = Own(segments, place).end;
      borders_[static_cast<size_t>(place.rank) + 1] = end;
      cuts_a_group_ |= end % (own.all / c.groups) != 0;
    }
  }

  [[nodiscard]] ValueRef Run(ValueRef x) const {
    if (!cuts_a_group_) return x.graph == nullptr ? x : WithWholeGroups(x);
    // A group's sum of squares has one order, over all of its columns: whoever has a part of them gets the others.
    const ValueRef all = AllGather(b_, x, borders_);
    if (x.graph == nullptr) return x;
    const SliceAttrs own{.begin = own_.ranges.front().begin, .size = own_.size()};
    if (c_.groups == 1) return Slice(b_, RmsNorm(b_, all, *c_.norm), own);
    return Weighted(Slice(b_, UnweightedHeadNorm(b_, all, own_.all / c_.groups, c_.norm->eps), own));
  }

 private:
  [[nodiscard]] ValueRef WithWholeGroups(ValueRef x) const {
    if (c_.groups == 1) return RmsNorm(b_, x, *c_.norm);
    return Weighted(UnweightedHeadNorm(b_, x, own_.all / c_.groups, c_.norm->eps));
  }
  [[nodiscard]] ValueRef Weighted(ValueRef x) const { return ScaleColumns(b_, x, DeclareRows(b_, own_, {.name = "weight"})); }

  const Builder b_;
  const MambaConfig& c_;
  const OwnRows& own_;   // columns of this rank
  graph::Segments borders_{};
  bool cuts_a_group_ = false;
};

// y, z: null from a rank without heads.
ValueRef Gate(const Builder& b, ValueRef y, ValueRef z, const MambaConfig& c, const OwnRows& own) {
  const auto normalise = [&](ValueRef x) { return GroupNorm(b.In("norm"), c, own).Run(x); };
  if (y.graph == nullptr) return c.norm ? normalise(y) : y;
  const ValueRef gate = Silu(b, z);
  if (!c.norm) return Mul(b, y, gate);
  if (c.order == GateOrder::kGateFirst) return normalise(Mul(b, y, gate));
  return Mul(b, normalise(y), gate);
}

struct Scanned {
  ValueRef y, gate;
};
Scanned Scan(const Builder& b, ValueRef x, const MambaConfig& c, const OwnMamba& own) {
  const graph::RecurrenceAttrs attrs{.key_heads = std::ssize(own.heads.kv),
                                     .value_heads = own.heads.query.size(),
                                     .key_dim = c.state_dim,
                                     .value_dim = c.head_dim,
                                     .least_step = c.least_step,
                                     .most_step = c.most_step};
  const int64_t values = attrs.value_cols(), xbc_cols = own.convolved.size();
  const ValueRef projected = Project(b, x, c, own);
  const ValueRef z = Slice(b, projected, {.begin = 0, .size = values}),
                 dt = Slice(b, projected, {.begin = values + xbc_cols, .size = attrs.value_heads});
  const ValueRef xbc = CausalConv(b.In("conv1d"), Slice(b, projected, {.begin = values, .size = xbc_cols}), own.convolved, c.taps, c.conv_bias);

  const ValueRef state = b.State({.name = "recurrent", .floats = attrs.state_floats()});
  const auto of_heads = [&](std::string_view name) { return DeclareRows(b, own.of_heads, {.name = name}); };
  const ValueRef a_log = of_heads("A_log"), dt_bias = of_heads("dt_bias"), d = of_heads("D");
  return {.y = b.Emit(graph::Op::kSsmScan, {state, xbc, dt, a_log, dt_bias, d, b.slots(), b.positions()}, attrs).front(), .gate = z};
}

}  // namespace

ValueRef Mamba(const Builder& b, ValueRef x, const MambaConfig& c) {
  const OwnMamba own = OwnOf(c, b.place());
  const Scanned scanned = own.heads.query.is_empty() ? Scanned{} : Scan(b, x, c, own);
  const ValueRef gated = Gate(b, scanned.y, scanned.gate, c, own.values);
  const KSplit split{.shard = Shard::kHeadColumns, .segments = HeadSegments(c.heads, c.groups, c.head_dim)};
  return Scale(b, RowParallelLinear(b.In("out_proj"), gated, x.shape()[1], c.out_bias, split), c.out_scale);
}

}  // namespace intaglio::layers
