#include "compiler/arena_values.h"

#include <algorithm>

#include "base/assert.h"
#include "graph/infer.h"
#include "kernels/kernel.h"

namespace intaglio::compiler {

using graph::Op;
using graph::ValueId;

ArenaValues::ArenaValues(const graph::Graph& graph, const std::set<ValueId>& kept)
    : graph_(graph), kept_(kept), readers_(graph.values.size()), views_(graph.values.size()) {
  for (size_t node = 0; node < graph.nodes.size(); ++node) {
    for (ValueId input : graph.nodes[node].inputs) readers_[static_cast<size_t>(input)].push_back(node);
  }
  for (size_t value = 0; value < graph.values.size(); ++value) {
    if (graph.values[value].source == graph::Source::kActivation) AddStorage(/*first_node=*/0, static_cast<ValueId>(value));
  }
  for (size_t node = 0; node < graph.nodes.size(); ++node) PlaceOutputs(node);
  for (size_t value = 0; value < graph.values.size(); ++value) {
    if (!IsArena(static_cast<ValueId>(value))) continue;
    int32_t& last = lifetimes_[views_[value].storage].last_node;
    if (!readers_[value].empty()) last = std::max(last, static_cast<int32_t>(readers_[value].back()));
    if (kept.contains(static_cast<ValueId>(value))) last = static_cast<int32_t>(graph.nodes.size());
  }
}

bool ArenaValues::IsArena(ValueId value) const {
  const graph::Source source = graph_.value(value).source;
  return source == graph::Source::kActivation || (source == graph::Source::kNode && !graph::IsKvCache(graph_.value(value)));
}

// True when `node` is the last to read `input`, and no other live value shares the bytes that it would write over.
bool ArenaValues::MayOverwrite(size_t node, ValueId input) const {
  if (!IsArena(input) || kept_.contains(input) || readers_[static_cast<size_t>(input)].back() != node) return false;
  if (std::ranges::count(graph_.nodes[node].inputs, input) != 1) return false;
  const auto is_slice = [&](size_t reader) { return graph_.nodes[reader].op == Op::kSlice; };
  if (std::ranges::any_of(readers_[static_cast<size_t>(input)], is_slice)) return false;
  for (const graph::Node& maker : graph_.nodes) {
    if (maker.op != Op::kSlice || maker.outputs[0] != input) continue;   // a slice: its columns are its own if all readers of the whole are slices
    const ValueId whole = maker.inputs[0];
    return !kept_.contains(whole) && std::ranges::all_of(readers_[static_cast<size_t>(whole)], is_slice);
  }
  return true;
}

// The operand that the node's kernel writes its result over (params.h says which may alias), or kNoValue.
ValueId ArenaValues::InPlaceInput(size_t node) const {
  const graph::Node& n = graph_.nodes[node];
  switch (n.op) {
    case Op::kRmsNorm:
    case Op::kRope:
    case Op::kNormRope:
    case Op::kScale:
    case Op::kSoftcap:
    case Op::kScaleColumns:
    case Op::kSigmoidGate:
    case Op::kLayerNorm:
    case Op::kUnitNorm:
    case Op::kAddPosition:
    case Op::kAddBias:
    case Op::kNormBy:
    case Op::kExpertIsolate:
    case Op::kExpertBias:
      return MayOverwrite(node, n.inputs[0]) ? n.inputs[0] : graph::kNoValue;
    case Op::kExpertExchange:
      if (n.inputs.size() < 3) return graph::kNoValue;   // of a rank without experts
      Assert(MayOverwrite(node, n.inputs[2]));
      return n.inputs[2];
    case Op::kRowGather:
    case Op::kAllReduce:   // ranks add where they stand
      Assert(MayOverwrite(node, n.inputs[0]));
      return n.inputs[0];
    case Op::kMatMul:
      return std::get<graph::MatMulAttrs>(n.attrs).has_residual && MayOverwrite(node, n.inputs.back()) ? n.inputs.back() : graph::kNoValue;
    default:
      return graph::kNoValue;
  }
}

void ArenaValues::PlaceOutputs(size_t node) {
  const graph::Node& n = graph_.nodes[node];
  for (ValueId output : n.outputs) {
    if (!IsArena(output)) continue;
    View& view = views_[static_cast<size_t>(output)];
    if (n.op == Op::kSlice) {
      view = views_[static_cast<size_t>(n.inputs[0])];
      view.column += std::get<graph::SliceAttrs>(n.attrs).begin;
    } else if (const ValueId input = InPlaceInput(node); input != graph::kNoValue) {
      view = views_[static_cast<size_t>(input)];
    } else {
      AddStorage(node, output);
    }
  }
}

void ArenaValues::AddStorage(size_t first_node, ValueId value) {
  const Shape& shape = graph_.value(value).shape;
  const int64_t stride = (shape[1] + kernels::kLanes - 1) / kernels::kLanes * kernels::kLanes;
  views_[static_cast<size_t>(value)] = {.storage = lifetimes_.size(), .column = 0};
  strides_.push_back(stride);
  lifetimes_.push_back({.first_node = static_cast<int32_t>(first_node),
                        .last_node = static_cast<int32_t>(first_node),
                        .bytes = static_cast<uint64_t>(shape[0] * stride) * sizeof(float)});
}

size_t ArenaValues::AddWorkspace(size_t node, uint64_t bytes) {
  strides_.push_back(static_cast<int64_t>(bytes / sizeof(float)));
  lifetimes_.push_back({.first_node = static_cast<int32_t>(node), .last_node = static_cast<int32_t>(node), .bytes = bytes});
  return lifetimes_.size() - 1;
}

void ArenaValues::Plan() { plan_ = PlanArena(lifetimes_); }

bundle::Operand ArenaValues::Operand(ValueId value) const {
  Assert(IsArena(value));
  const View& view = views_[static_cast<size_t>(value)];
  const graph::Value& v = graph_.value(value);
  const uint64_t skipped = static_cast<uint64_t>(view.column) * sizeof(float);
  return {.space = bundle::Space::kArena,
          .dtype = v.dtype,
          .offset = plan_.offsets[view.storage] + skipped,
          .bytes = lifetimes_[view.storage].bytes - skipped,
          .rows = v.shape[0],
          .cols = v.shape[1],
          .stride = strides_[view.storage]};
}

bundle::Operand ArenaValues::Workspace(size_t handle) const {
  const int64_t floats = strides_[handle];
  return {.space = bundle::Space::kArena,
          .dtype = DType::kF32,
          .offset = plan_.offsets[handle],
          .bytes = lifetimes_[handle].bytes,
          .rows = 1,
          .cols = floats,
          .stride = floats};
}

}  // namespace intaglio::compiler
