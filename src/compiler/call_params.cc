#include "compiler/call_params.h"

#include <algorithm>

#include "kernels/params.h"

namespace intaglio::compiler {
namespace {

using bundle::Call;
using graph::Op;

void Set(const graph::NoAttrs&, Op, Call&) {}
void Set(const graph::SliceAttrs&, Op, Call&) {}

// 0: all, as in plans of one rank.
int64_t Leaves(int64_t leaves) { return leaves == graph::kNumSegments ? 0 : leaves; }

void Set(const graph::EmbeddingAttrs& attrs, Op, Call& call) {
  call.floats[kernels::embed_params::kScale] = attrs.scale;
  call.ints[kernels::embed_params::kFirstId] = attrs.first_id;
}

void Set(const graph::MatMulAttrs& attrs, Op, Call& call) {
  std::ranges::copy(attrs.segments, call.ints.begin() + kernels::matmul_params::kBorders);
  call.ints[kernels::kLeaves] = Leaves(attrs.leaves);
}

void Set(const graph::NormAttrs& attrs, Op op, Call& call) {
  if (op == Op::kLayerNorm) {
    call.floats[kernels::layer_norm_params::kEps] = attrs.eps;
    return;
  }
  call.ints[kernels::norm_params::kWidth] = attrs.width;
  call.floats[kernels::norm_params::kEps] = attrs.eps;
  std::ranges::copy(attrs.segments, call.ints.begin() + kernels::norm_params::kBorders);
}

void Set(const graph::RopeAttrs& attrs, Op, Call& call) {
  call.ints[kernels::rope_params::kHeadDim] = attrs.head_dim;
  call.ints[kernels::rope_params::kRotaryDim] = attrs.rotary_dim;
  call.ints[kernels::rope_params::kStyle] = static_cast<int64_t>(attrs.style);
  call.floats[kernels::rope_params::kEps] = attrs.eps;
}

void Set(const graph::AttentionAttrs& attrs, Op, Call& call) {
  call.ints[kernels::attention_params::kHeads] = attrs.heads;
  call.ints[kernels::attention_params::kWindow] = attrs.window;
  call.ints[kernels::attention_params::kChunk] = attrs.chunk;
  call.ints[kernels::attention_params::kBothWays] = attrs.sees_both_ways ? 1 : 0;
  call.floats[kernels::attention_params::kScale] = attrs.scale;
  call.floats[kernels::attention_params::kSoftcap] = attrs.softcap;
}

void Set(const graph::RouteAttrs& attrs, Op, Call& call) {
  call.ints[kernels::route_params::kScoring] = static_cast<int64_t>(attrs.scoring);
  call.ints[kernels::route_params::kNormalise] = attrs.normalise ? 1 : 0;
  call.ints[kernels::route_params::kNumGroups] = attrs.num_groups;
  call.ints[kernels::route_params::kTopGroups] = attrs.top_groups;
  call.floats[kernels::route_params::kScale] = attrs.scale;
}

void Set(const graph::ExpertAttrs& attrs, Op op, Call& call) {
  using namespace kernels::expert_params;
  if (op == Op::kExpertGroup) call.ints[kCapacity] = attrs.capacity;
  if (op == Op::kExpertMatMul || op == Op::kExpertIsolate) {
    call.ints[kNumExperts] = attrs.end_expert() - attrs.first_expert;
    call.ints[kFirstExpert] = attrs.first_expert;
  }
  if (op == Op::kExpertMatMul) {
    std::ranges::copy(attrs.segments, call.ints.begin() + kBorders);
    call.ints[kernels::kLeaves] = Leaves(attrs.leaves);
  }
  if (op == Op::kExpertCombine) {
    call.ints[kNumExperts] = attrs.num_experts;
    call.ints[kFirstGroup] = attrs.first_group;
    call.ints[kNumGroups] = Leaves(attrs.num_groups);
    if (attrs.num_shares != 1) call.ints[kShare] = attrs.share, call.ints[kNumShares] = attrs.num_shares;
  }
}

void Set(const graph::GatherAttrs& attrs, Op, Call& call) { std::ranges::copy(attrs.borders, call.ints.begin() + kernels::gather_params::kBorders); }

void Set(const graph::ExchangeAttrs& attrs, Op, Call& call) {
  std::ranges::copy(attrs.experts, call.ints.begin() + kernels::exchange_params::kBorders);
}

void Set(const graph::ZerosAttrs&, Op, Call&) {}

void Set(const graph::SquareSumAttrs& attrs, Op, Call& call) {
  std::ranges::copy(attrs.segments, call.ints.begin() + kernels::norm_params::kBorders);
  call.ints[kernels::kLeaves] = Leaves(attrs.leaves);
}

void Set(const graph::SampleAttrs&, Op, Call&) {}

void Set(const graph::RotaryAttrs& attrs, Op, Call& call) { call.ints[kernels::rotary_params::kFirstLength] = attrs.first_length; }

void Set(const graph::HeadAttrs& attrs, Op op, Call& call) {
  call.ints[kernels::head_params::kHeads] = attrs.heads;
  if (op == Op::kHeadMatMul) std::ranges::copy(attrs.segments, call.ints.begin() + kernels::head_params::kBorders);
}

void Set(const graph::ClampAttrs& attrs, Op, Call& call) {
  call.floats[kernels::clamp_params::kAlpha] = attrs.alpha;
  call.floats[kernels::clamp_params::kLimit] = attrs.limit;
}

void Set(const graph::PoolAttrs& attrs, Op, Call& call) { call.ints[kernels::pool_params::kMode] = static_cast<int64_t>(attrs.mode); }

void Set(const graph::ScalarAttrs& attrs, Op, Call& call) { call.floats[kernels::scalar_params::kValue] = attrs.value; }

void Set(const graph::ConvAttrs&, Op, Call&) {}

void Set(const graph::RecurrenceAttrs& attrs, Op, Call& call) {
  using namespace kernels::recurrence_params;
  call.ints[kKeyHeads] = attrs.key_heads;
  call.ints[kValueHeads] = attrs.value_heads;
  call.ints[kKeyDim] = attrs.key_dim;
  call.ints[kValueDim] = attrs.value_dim;
  call.floats[kLeastStep] = attrs.least_step;
  call.floats[kMostStep] = attrs.most_step;
}

}  // namespace

void SetParams(const graph::Node& node, Call& call) {
  std::visit([&](const auto& attrs) { Set(attrs, node.op, call); }, node.attrs);
}

}  // namespace intaglio::compiler
