#include "layers/moe.h"

#include "base/strings.h"

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

// The checkpoint's tensors as rows of the experts' weights: for each expert gate, then up; and down.
class ExpertWeights {
 public:
  ExpertWeights(const Builder& b, const MoeConfig& config, int64_t hidden_size)
      : b_(config.tensors.scope.empty() ? b : b.In(config.tensors.scope)),
        config_(config),
        num_experts_(config.route.num_experts),
        intermediate_(config.intermediate_size),
        hidden_(hidden_size) {}

  [[nodiscard]] ValueRef GateUp() const {
    std::vector<WeightSource> sources;
    for (int64_t expert = 0; expert < num_experts_; ++expert) {
      sources.push_back(Half(expert, 0));
      sources.push_back(Half(expert, 1));
    }
    return b_.Declare({.name = "gate_up_proj.weight",
                       .shape = {num_experts_, 2 * intermediate_, hidden_},
                       .layout = Layout::kExperts,
                       .sources = std::move(sources)});
  }

  [[nodiscard]] ValueRef Down() const {
    std::vector<WeightSource> sources;
    for (int64_t expert = 0; expert < num_experts_; ++expert) sources.push_back(DownOf(expert));
    return b_.Declare(
        {.name = "down_proj.weight", .shape = {num_experts_, hidden_, intermediate_}, .layout = Layout::kExperts, .sources = std::move(sources)});
  }

  [[nodiscard]] ValueRef GateUpBias() const {
    std::vector<WeightSource> sources;
    const bool is_interleaved = config_.tensors.storage == ExpertStorage::kStackedInterleaved || config_.tensors.storage == ExpertStorage::kMxfp4;
    for (int64_t expert = 0; expert < num_experts_; ++expert) {
      for (int64_t half = 0; half < 2; ++half) {
        sources.push_back({.name = Name(config_.tensors.gate_up + "_bias"),
                           .shape = {num_experts_, 2 * intermediate_},
                           .shard = Shard::kRows,
                           .view = SourceView::kElements,
                           .first_row = expert * 2 * intermediate_ + (is_interleaved ? half : half * intermediate_),
                           .num_rows = intermediate_,
                           .row_step = is_interleaved ? 2 : 1});
      }
    }
    return b_.Declare(
        {.name = "gate_up_proj.bias", .shape = {num_experts_, 2 * intermediate_}, .layout = Layout::kTable, .sources = std::move(sources)});
  }

  [[nodiscard]] ValueRef DownBias() const {
    WeightSource source{.name = Name(config_.tensors.down + "_bias"), .shape = {num_experts_, hidden_}};
    return b_.Declare({.name = "down_proj.bias", .shape = {num_experts_, hidden_}, .layout = Layout::kTable, .sources = {std::move(source)}});
  }

 private:
  [[nodiscard]] std::string Name(const std::string& tensor) const { return StrCat(b_.scope(), '.', tensor); }

  // All rows of a stack [E, rows, cols] of MXFP4 blocks.
  [[nodiscard]] WeightSource Mxfp4(const std::string& tensor, int64_t rows, int64_t cols) const {
    return {.name = Name(tensor + "_blocks"),
            .shape = {num_experts_, rows, cols / kMxfp4Group, kMxfp4Group / 2},
            .view = SourceView::kMxfp4Rows,
            .scales = Name(tensor + "_scales")};
  }

  // Gate (0) or up (1) of one expert.
  [[nodiscard]] WeightSource Half(int64_t expert, int64_t half) const {
    const ExpertTensors& t = config_.tensors;
    WeightSource source{.name = Name(t.gate_up),
                        .shape = {num_experts_, hidden_, 2 * intermediate_},
                        .shard = Shard::kRows,
                        .view = SourceView::kColumns,
                        .num_rows = intermediate_,
                        .matrix = expert};
    switch (t.storage) {
      case ExpertStorage::kSeparate:
        return {.name = Name(StrCat(expert, '.', half == 0 ? t.gate : t.up, ".weight")), .shape = {intermediate_, hidden_}, .shard = Shard::kRows};
      case ExpertStorage::kStacked:
        return {.name = source.name,
                .shape = {num_experts_, 2 * intermediate_, hidden_},
                .shard = Shard::kRows,
                .first_row = (2 * expert + half) * intermediate_,
                .num_rows = intermediate_};
      case ExpertStorage::kStackedTransposed:
        source.first_row = half * intermediate_;
        return source;
      case ExpertStorage::kStackedInterleaved:
        source.first_row = half;
        source.row_step = 2;
        return source;
      case ExpertStorage::kMxfp4:
        source = Mxfp4(t.gate_up, 2 * intermediate_, hidden_);
        source.shard = Shard::kRows;
        source.first_row = expert * 2 * intermediate_ + half;
        source.num_rows = intermediate_;
        source.row_step = 2;
        return source;
    }
    return source;
  }

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
  const int64_t num_experts_, intermediate_, hidden_;
};

ValueRef ExpertMatMul(const Builder& b, ValueRef x, ValueRef weight, ValueRef offsets, ValueRef bias) {
  ExpertAttrs attrs{.num_experts = weight.shape()[0], .segments = PlainSegments(x.shape()[1]), .has_bias = bias.graph != nullptr};
  std::vector<ValueRef> operands{x, weight, offsets};
  if (attrs.has_bias) operands.push_back(bias);
  return b.Emit(Op::kExpertMatMul, operands, attrs).front();
}

// With the weights as a last operand where they are wanted.
ValueRef EmitWeighted(const Builder& b, Op op, std::vector<ValueRef> operands, ValueRef weights, ExpertAttrs attrs) {
  if (attrs.has_weights) operands.push_back(weights);
  return b.Emit(op, operands, attrs).front();
}

ValueRef RoutedExperts(const Builder& b, ValueRef x, const MoeConfig& config) {
  const ExpertWeights weights(b, config, x.shape()[1]);
  const ValueRef logits =
      b.Probe("router_logits", ColumnParallelLinear(b.In(config.router), x, config.route.num_experts, config.router_bias, Shard::kReplicated));
  std::vector<ValueRef> scored{logits};
  if (!config.correction_bias.empty())
    scored.push_back(b.Weight(config.correction_bias, {config.route.num_experts}, Shard::kReplicated, Layout::kVector));
  const std::vector<ValueRef> routed = b.Emit(Op::kRoute, scored, config.route);
  const ValueRef ids = b.Probe("expert_ids", routed[0]), share = b.Probe("expert_weights", routed[1]);

  ExpertAttrs attrs{.num_experts = config.route.num_experts};
  const ExpertAttrs group{.num_experts = attrs.num_experts, .capacity = b.ExpertCapacity(config.route.top_k, attrs.num_experts)};
  const std::vector<ValueRef> grouped = b.Emit(Op::kExpertGroup, {ids}, group);
  const ValueRef positions = grouped[0], offsets = grouped[1];
  attrs.has_weights = config.scales_input;
  const ValueRef gathered = EmitWeighted(b, Op::kExpertGather, {x, positions}, share, attrs);

  const bool has_bias = config.expert_bias == Bias::kAdded;
  const ValueRef gate_up_weight = weights.GateUp(), gate_up_bias = has_bias ? weights.GateUpBias() : ValueRef{};
  const ValueRef gate_up = ExpertMatMul(b.In("gate_up_proj"), gathered, gate_up_weight, offsets, gate_up_bias);
  const ValueRef activated = config.activation == ExpertActivation::kSilu ? b.Emit(Op::kGatedSilu, {gate_up}).front()
                                                                          : b.Emit(Op::kGatedClamped, {gate_up}, config.clamp).front();
  const ValueRef down_weight = weights.Down(), down_bias = has_bias ? weights.DownBias() : ValueRef{};
  const ValueRef down = ExpertMatMul(b.In("down_proj"), activated, down_weight, offsets, down_bias);
  attrs.has_weights = !config.scales_input;
  return EmitWeighted(b, Op::kExpertCombine, {down, positions, ids}, share, attrs);
}

ValueRef SharedExpert(const Builder& b, ValueRef x, const MoeConfig& config) {
  const ValueRef y = FeedForward(b.In(config.shared_scope), x, *config.shared);
  if (!config.gates_shared) return y;
  return SigmoidGate(b, y, ColumnParallelLinear(b.In("shared_expert_gate"), x, 1, Bias::kNone, Shard::kReplicated));
}

}  // namespace

ValueRef MixtureOfExperts(const Builder& b, ValueRef x, const MoeConfig& config) {
  b.Probe("mlp_in", x);
  ValueRef y = RoutedExperts(b, x, config);
  if (config.shared) y = Add(b, y, SharedExpert(b, x, config));
  return b.Probe("mlp_out", y);
}

}  // namespace intaglio::layers
