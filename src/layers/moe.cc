#include "layers/moe.h"

#include "base/strings.h"
#include "layers/expert_dispatch.h"

namespace intaglio::layers {

using graph::Builder;
using graph::ExpertAttrs;
using graph::kMxfp4Group;
using graph::Layout;
using graph::Op;
using graph::Shard;
using graph::SourceView;
using graph::ValueRef;
using graph::WeightSource;

namespace {

// This rank's part: some experts, and of each of them some columns inside (of its own K, in the down projection).
struct OwnPart {
  OwnPart(const graph::RankPlace& place, const MoeConfig& config)
      : experts(OwnExperts(config.route.num_experts, place)),
        columns(Own(PlainSegments(config.intermediate_size), place.within_expert())),
        has_whole_experts(place.expert_tp() == 1) {}
  [[nodiscard]] bool is_empty() const { return experts.is_empty() || columns.is_empty(); }

  Range experts, columns;
  bool has_whole_experts;
};

// The checkpoint's tensors as rows of the rank's experts' weights: for each expert gate, then up; and down.
class ExpertWeights {
 public:
  ExpertWeights(const Builder& b, const MoeConfig& config, int64_t hidden_size)
      : b_(config.tensors.scope.empty() ? b : b.In(config.tensors.scope)),
        config_(config),
        own_(b.place(), config),
        num_experts_(config.route.num_experts),
        intermediate_(config.intermediate_size),
        hidden_(hidden_size) {}

  [[nodiscard]] ValueRef GateUp() const {
    std::vector<WeightSource> sources;
    for (int64_t expert = own_.experts.begin; expert < own_.experts.end; ++expert) {
      sources.push_back(Half(expert, 0));
      sources.push_back(Half(expert, 1));
    }
    return b_.Declare({.name = "gate_up_proj.weight",
                       .shape = {own_.experts.size(), 2 * own_.columns.size(), hidden_},
                       .layout = Layout::kExperts,
                       .sources = std::move(sources)});
  }

  [[nodiscard]] ValueRef Down() const {
    std::vector<WeightSource> sources;
    for (int64_t expert = own_.experts.begin; expert < own_.experts.end; ++expert) {
      WeightSource& source = sources.emplace_back(DownOf(expert));
      if (own_.columns.size() != intermediate_) source.first_k = own_.columns.begin, source.num_k = own_.columns.size();
    }
    return b_.Declare({.name = "down_proj.weight",
                       .shape = {own_.experts.size(), hidden_, own_.columns.size()},
                       .layout = Layout::kExperts,
                       .sources = std::move(sources)});
  }

  [[nodiscard]] ValueRef GateUpBias() const {
    std::vector<WeightSource> sources;
    for (int64_t expert = own_.experts.begin; expert < own_.experts.end; ++expert) {
      for (int64_t half = 0; half < 2; ++half) {
        sources.push_back({.name = Name(config_.tensors.gate_up + "_bias"),
                           .shape = {num_experts_, 2 * intermediate_},
                           .shard = Shard::kRows,
                           .view = SourceView::kElements,
                           .first_row = expert * 2 * intermediate_ + FirstOf(half),
                           .num_rows = own_.columns.size(),
                           .row_step = is_interleaved() ? 2 : 1});
      }
    }
    return b_.Declare({.name = "gate_up_proj.bias",
                       .shape = {own_.experts.size(), 2 * own_.columns.size()},
                       .layout = Layout::kTable,
                       .sources = std::move(sources)});
  }

  // Of `experts`: those of the rank, or all.
  [[nodiscard]] ValueRef DownBias(const Range& experts) const {
    WeightSource source{.name = Name(config_.tensors.down + "_bias"), .shape = {num_experts_, hidden_}};
    if (experts.size() != num_experts_) source.first_row = experts.begin, source.num_rows = experts.size();
    return b_.Declare({.name = "down_proj.bias", .shape = {experts.size(), hidden_}, .layout = Layout::kTable, .sources = {std::move(source)}});
  }

 private:
  [[nodiscard]] std::string Name(const std::string& tensor) const { return StrCat(b_.scope(), '.', tensor); }

  // Whether rows of gate and up alternate.
  [[nodiscard]] bool is_interleaved() const {
    return config_.tensors.storage == ExpertStorage::kStackedInterleaved || config_.tensors.storage == ExpertStorage::kMxfp4;
  }
  // The rank's first row of gate (0) or up (1) among an expert's rows of both.
  [[nodiscard]] int64_t FirstOf(int64_t half) const {
    return is_interleaved() ? half + 2 * own_.columns.begin : half * intermediate_ + own_.columns.begin;
  }

  // All rows of a stack [E, rows, cols] of MXFP4 blocks.
  [[nodiscard]] WeightSource Mxfp4(const std::string& tensor, int64_t rows, int64_t cols) const {
    return {.name = Name(tensor + "_blocks"),
            .shape = {num_experts_, rows, cols / kMxfp4Group, kMxfp4Group / 2},
            .view = SourceView::kMxfp4Rows,
            .scales = Name(tensor + "_scales")};
  }

  // Gate (0) or up (1) of one expert, the rank's rows of it.
  [[nodiscard]] WeightSource Half(int64_t expert, int64_t half) const {
    const ExpertTensors& t = config_.tensors;
    const int64_t rows = own_.columns.size();
    WeightSource source{.name = Name(t.gate_up), .shape = {num_experts_, hidden_, 2 * intermediate_}, .view = SourceView::kColumns};
    switch (t.storage) {
      case ExpertStorage::kSeparate:
        source = {.name = Name(StrCat(expert, '.', half == 0 ? t.gate : t.up, ".weight")), .shape = {intermediate_, hidden_}};
        if (rows != intermediate_) source.first_row = own_.columns.begin, source.num_rows = rows;
        break;
      case ExpertStorage::kStacked:
        source = {.name = source.name,
                  .shape = {num_experts_, 2 * intermediate_, hidden_},
                  .first_row = expert * 2 * intermediate_ + FirstOf(half),
                  .num_rows = rows};
        break;
      case ExpertStorage::kStackedTransposed:
      case ExpertStorage::kStackedInterleaved:
        source.first_row = FirstOf(half), source.num_rows = rows, source.matrix = expert;
        break;
      case ExpertStorage::kMxfp4:
        source = Mxfp4(t.gate_up, 2 * intermediate_, hidden_);
        source.first_row = expert * 2 * intermediate_ + FirstOf(half), source.num_rows = rows;
        break;
    }
    source.shard = Shard::kRows;
    if (is_interleaved()) source.row_step = 2;
    return source;
  }

  // All of one expert's down projection.
  [[nodiscard]] WeightSource DownOf(int64_t expert) const {
    const ExpertTensors& t = config_.tensors;
    switch (t.storage) {
      case ExpertStorage::kSeparate:
        return {.name = Name(StrCat(expert, '.', t.down, ".weight")), .shape = {hidden_, intermediate_}, .shard = Shard::kColumns};
      case ExpertStorage::kStacked:
        return {.name = Name(t.down),
                .shape = {num_experts_, hidden_, intermediate_},
                .shard = Shard::kColumns,
                .first_row = expert * hidden_,
                .num_rows = hidden_};
      case ExpertStorage::kMxfp4: {
        WeightSource source = Mxfp4(t.down, hidden_, intermediate_);
        source.shard = Shard::kColumns;
        source.first_row = expert * hidden_;
        source.num_rows = hidden_;
        return source;
      }
      case ExpertStorage::kStackedTransposed:
      case ExpertStorage::kStackedInterleaved:
        break;
    }
    return {.name = Name(t.down),
            .shape = {num_experts_, intermediate_, hidden_},
            .shard = Shard::kColumns,
            .view = SourceView::kColumns,
            .matrix = expert};
  }

  const Builder b_;
  const MoeConfig& config_;
  const OwnPart own_;
  const int64_t num_experts_, intermediate_, hidden_;
};

// With the weights as a last operand where they are wanted.
ValueRef EmitWeighted(const Builder& b, Op op, std::vector<ValueRef> operands, ValueRef weights, ExpertAttrs attrs) {
  if (attrs.has_weights) operands.push_back(weights);
  return b.Emit(op, operands, attrs).front();
}

// What the router decides for every row, the same on every rank.
struct Routed {
  ValueRef ids, weights;          // [R, k]
  ValueRef positions, offsets;    // ExpertGroup's
};

class Experts {
 public:
  Experts(const Builder& b, const MoeConfig& config, int64_t hidden_size)
      : b_(b), config_(config), place_(b.place()), own_(place_, config), weights_(b, config, hidden_size), hidden_(hidden_size) {}

  [[nodiscard]] ValueRef Run(ValueRef x) const {
    Routed routed = Route(x);
    const bool exchanges = UsesExchange(b_.expert_dispatch(), {.rows = b_.rows(), .top_k = config_.route.top_k, .hidden_size = hidden_}, place_);
    if (own_.has_whole_experts && own_.is_empty() && !exchanges) return AllReduce(b_, Zeros(b_, hidden_));
    const ExpertAttrs group{.num_experts = num_experts(), .capacity = b_.ExpertCapacity(config_.route.top_k, num_experts())};
    const std::vector<ValueRef> grouped = b_.Emit(Op::kExpertGroup, {routed.ids}, group);
    routed.positions = grouped[0], routed.offsets = grouped[1];
    if (exchanges) return Exchange(own_.is_empty() ? ValueRef{} : Compute(x, routed), routed);
    ValueRef y = own_.is_empty() ? Zeros(b_, hidden_, config_.route.top_k) : Compute(x, routed);
    if (!own_.has_whole_experts) y = Finish(y, routed.offsets);
    ExpertAttrs combine = EveryGroup();
    if (own_.has_whole_experts) combine.first_group = place_.first_expert_group(), combine.num_groups = place_.num_expert_groups();
    const ValueRef sum = EmitWeighted(b_, Op::kExpertCombine, {y, routed.positions, routed.ids}, routed.weights, combine);
    return own_.has_whole_experts && !place_.is_alone() ? AllReduce(b_, sum) : sum;
  }

 private:
  [[nodiscard]] int64_t num_experts() const { return config_.route.num_experts; }
  [[nodiscard]] bool has_bias() const { return config_.expert_bias == Bias::kAdded; }

  [[nodiscard]] Routed Route(ValueRef x) const {
    const ValueRef logits = b_.Probe("router_logits", ColumnParallelLinear(b_.In(config_.router), x, EveryRow(num_experts()), config_.router_bias));
    std::vector<ValueRef> scored{logits};
    if (!config_.correction_bias.empty()) scored.push_back(b_.Weight(config_.correction_bias, {num_experts()}, Shard::kReplicated, Layout::kVector));
    const std::vector<ValueRef> routed = b_.Emit(Op::kRoute, scored, config_.route);
    return {.ids = b_.Probe("expert_ids", routed[0]), .weights = b_.Probe("expert_weights", routed[1]), .positions = {}, .offsets = {}};
  }

  [[nodiscard]] ExpertAttrs EveryGroup() const { return {.num_experts = num_experts(), .has_weights = !config_.scales_input}; }

  // The finished rows, of which each rank adds its own share. `y`: what whole experts made; null from a rank that has none.
  [[nodiscard]] ValueRef Exchange(ValueRef y, const Routed& routed) const {
    graph::ExchangeAttrs attrs{.experts = {}, .cols = hidden_};
    attrs.experts.fill(num_experts());
    for (graph::RankPlace place{.rank = 0, .tp_degree = place_.tp_degree, .ep_degree = place_.ep_degree}; place.rank < place.tp_degree; ++place.rank)
      attrs.experts[static_cast<size_t>(place.rank)] = OwnExperts(num_experts(), place).begin;
    y = ExpertExchange(b_, {.y = y, .positions = routed.positions, .offsets = routed.offsets}, attrs);
    ExpertAttrs combine = EveryGroup();
    combine.share = place_.rank, combine.num_shares = place_.tp_degree;
    return RowGather(b_, EmitWeighted(b_, Op::kExpertCombine, {y, routed.positions, routed.ids}, routed.weights, combine));
  }

  // [R k, hidden]: the rank's part of what its own experts make of their rows.
  [[nodiscard]] ValueRef Compute(ValueRef x, const Routed& routed) const {
    const ValueRef gathered = EmitWeighted(b_, Op::kExpertGather, {x, routed.positions}, routed.weights,
                                           {.num_experts = num_experts(), .has_weights = config_.scales_input});
    const ValueRef gate_up_weight = weights_.GateUp(), gate_up_bias = has_bias() ? weights_.GateUpBias() : ValueRef{};
    const OwnSum whole{.segments = PlainSegments(hidden_)};
    const ValueRef gate_up = MatMul("gate_up_proj", {gathered, gate_up_weight, routed.offsets, gate_up_bias}, whole);
    const ValueRef activated = config_.activation == ExpertActivation::kSilu ? b_.Emit(Op::kGatedSilu, {gate_up}).front()
                                                                             : b_.Emit(Op::kGatedClamped, {gate_up}, config_.clamp).front();
    // A part of a sum gets its bias after the last addition.
    const bool adds_bias = has_bias() && own_.has_whole_experts;
    const ValueRef down_weight = weights_.Down(), down_bias = adds_bias ? weights_.DownBias(own_.experts) : ValueRef{};
    const OwnSum part = SumOf(PlainSegments(config_.intermediate_size), place_.within_expert());
    return MatMul("down_proj", {activated, down_weight, routed.offsets, down_bias}, part);
  }

  // The last operand, a bias, may be null.
  [[nodiscard]] ValueRef MatMul(std::string_view scope, std::vector<ValueRef> operands, const OwnSum& sum) const {
    ExpertAttrs attrs = OfOwnExperts();
    attrs.segments = graph::AlignSegments(sum.segments, operands[1].weight().unit_k), attrs.leaves = sum.leaves;
    attrs.has_bias = operands.back().graph != nullptr;
    if (!attrs.has_bias) operands.pop_back();
    return b_.In(scope).Emit(Op::kExpertMatMul, operands, attrs).front();
  }

  // What ranks computed of the inside of experts, added. Rows of experts that a rank does not have must change no bit of the sum.
  [[nodiscard]] ValueRef Finish(ValueRef y, ValueRef offsets) const {
    if (place_.ep_degree > 1) y = ExpertIsolate(b_, y, offsets, OfOwnExperts());
    y = AllReduce(b_, y);
    return has_bias() ? ExpertBias(b_, y, offsets, weights_.DownBias({0, num_experts()})) : y;
  }

  [[nodiscard]] ExpertAttrs OfOwnExperts() const {
    ExpertAttrs attrs{.num_experts = num_experts()};
    if (place_.ep_degree > 1) attrs.first_expert = own_.experts.begin, attrs.own_experts = own_.experts.size();
    return attrs;
  }

  const Builder b_;
  const MoeConfig& config_;
  const graph::RankPlace place_;
  const OwnPart own_;
  const ExpertWeights weights_;
  const int64_t hidden_;
};

ValueRef SharedExpert(const Builder& b, ValueRef x, const MoeConfig& config) {
  const ValueRef y = FeedForward(b.In(config.shared_scope), x, *config.shared);
  if (!config.gates_shared) return y;
  return SigmoidGate(b, y, ColumnParallelLinear(b.In("shared_expert_gate"), x, EveryRow(1), Bias::kNone));
}

}  // namespace

ValueRef MixtureOfExperts(const Builder& b, ValueRef x, const MoeConfig& config) {
  b.Probe("mlp_in", x);
  ValueRef y = Experts(b, config, x.shape()[1]).Run(x);
  if (config.shared) y = Add(b, y, SharedExpert(b, x, config));
  return b.Probe("mlp_out", y);
}

}  // namespace intaglio::layers
