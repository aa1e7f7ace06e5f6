#include "compiler/lower_cpu.h"

#include <algorithm>
#include <iterator>
#include <optional>

#include "base/assert.h"
#include "base/fail.h"
#include "base/strings.h"
#include "compiler/arena_values.h"
#include "compiler/call_params.h"
#include "compiler/lower_sample.h"
#include "compiler/passes/rewrite.h"
#include "graph/infer.h"
#include "kernels/attention_table.h"
#include "kernels/kv_layout.h"
#include "kernels/params.h"
#include "kernels/workspace.h"

namespace intaglio::compiler {
namespace {

using bundle::Call;
using bundle::Operand;
using graph::Node;
using graph::Op;
using graph::ValueId;

std::set<ValueId> ValuesToKeep(const graph::Graph& graph, bool keep_probes) {
  std::set<ValueId> kept = KeptProbes(graph, {.keep_probes = keep_probes});
  for (ValueId result : {graph.logits, graph.ids, graph.logprobs, graph.embeddings}) {
    if (result != graph::kNoValue) kept.insert(result);
  }
  return kept;
}

// How kernels are named by their weights: quantised ones have one for all formats.
std::string_view WeightsOf(const Operand& weight) { return IsQuantized(weight.dtype) ? "q" : Name(weight.dtype); }

class Lowering {
 public:
  Lowering(const graph::Graph& graph, const LoweringContext& context)
      : graph_(graph),
        context_(context),
        kept_(ValuesToKeep(graph, context.keep_probes)),
        arena_(graph, kept_),
        workspaces_(graph.nodes.size()),
        follows_outputs_(graph.values.size()) {}

  bundle::Plan Run() {
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      if (const int64_t bytes = WorkspaceBytes(graph_.nodes[i]); bytes > 0)
        workspaces_[i] = arena_.AddWorkspace(i, static_cast<uint64_t>(bytes + 3) / 4 * 4);
    }
    arena_.Plan();
    bundle::Plan plan{.phase = graph_.phase,
                      .rows = static_cast<int32_t>(graph_.rows),
                      .outputs = static_cast<int32_t>(graph_.outputs),
                      .arena_bytes = arena_.arena_bytes(),
                      .logits = arena_.Operand(graph_.is_embedder() ? graph_.embeddings : graph_.logits),
                      .ids = graph_.is_embedder() ? Operand{} : arena_.Operand(graph_.ids),
                      .logprobs = graph_.is_embedder() ? Operand{} : arena_.Operand(graph_.logprobs),
                      .calls = {},
                      .probes = {}};
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      TrackDomain(graph_.nodes[i]);
      LowerNode(i, plan.calls);
    }
    if (context_.keep_probes) {
      for (const auto& [name, value] : graph_.probes) plan.probes.push_back({.name = name, .operand = arena_.Operand(value)});
    }
    return plan;
  }

 private:
  [[nodiscard]] const Shape& ShapeOf(ValueId value) const { return graph_.value(value).shape; }

  [[nodiscard]] int64_t WorkspaceBytes(const Node& node) const {
    switch (node.op) {
      case Op::kMatMul:
      case Op::kExpertMatMul:
        return kernels::MatMulWorkspaceBytes(ShapeOf(node.inputs[0])[0], ShapeOf(node.inputs[0])[1], WeightOf(graph_, node).dtype);
      case Op::kHeadMatMul: {
        const graph::Weight& weight = WeightOf(graph_, node);   // a head's own columns are packed by themselves
        return weight.shape[0] * kernels::MatMulWorkspaceBytes(ShapeOf(node.inputs[0])[0], weight.shape[2], weight.dtype);
      }
      case Op::kAttention: {
        const auto& a = std::get<graph::AttentionAttrs>(node.attrs);
        return kernels::AttentionWorkspaceBytes(graph_.rows, a.heads, a.kv_heads, a.value_dim(), graph_.max_context);
      }
      case Op::kSample:
        return SampleBytes(node);
      case Op::kAllGather:
        return ShapeOf(node.outputs[0]).num_elements() * static_cast<int64_t>(sizeof(float));
      case Op::kExpertExchange: {
        const Shape& positions = ShapeOf(node.inputs[0]);
        return kernels::ExpertExchangeWorkspaceBytes(positions[0], positions[1], ShapeOf(node.outputs[0])[1]);
      }
      default:
        return 0;
    }
  }

  [[nodiscard]] int64_t SampleBytes(const Node& node) const {
    const int64_t outputs = ShapeOf(node.inputs[0])[0], vocab = std::get<graph::SampleAttrs>(node.attrs).vocab;
    if (vocab == 0) return kernels::SampleWorkspaceBytes(outputs, ShapeOf(node.inputs[0])[1]);
    return kernels::SampleRanksWorkspaceBytes(outputs, vocab, ShapeOf(node.inputs[0])[1]);
  }

  // Rows of a step, or its output rows: decided where rows are gathered, inherited by all that follows.
  void TrackDomain(const Node& node) {
    const bool follows = node.op == Op::kGatherRows || node.op == Op::kPool ||
                         std::ranges::any_of(node.inputs, [&](ValueId in) { return follows_outputs_[static_cast<size_t>(in)]; });
    for (ValueId output : node.outputs) follows_outputs_[static_cast<size_t>(output)] = follows;
  }

  [[nodiscard]] Operand OperandOf(ValueId value) const {
    const graph::Value& v = graph_.value(value);
    if (v.source == graph::Source::kWeight) {
      const PlacedWeight& weight = context_.weights.weights[context_.weights.index.at(graph_.weights[static_cast<size_t>(v.index)].name)];
      return {.space = bundle::Space::kWeights,
              .dtype = weight.weight.dtype,
              .offset = weight.offset,
              .bytes = weight.bytes,
              .rows = weight.rows,
              .cols = weight.cols,
              .stride = weight.cols};
    }
    if (v.source == graph::Source::kState) return StateOperand(v.index);
    if (!graph::IsKvCache(v)) return arena_.Operand(value);
    const bundle::KvLayer& layer = context_.kv.layers[static_cast<size_t>(v.index)];
    const int64_t block_bytes = kernels::KvBlockBytes(layer.kv_heads, {layer.head_dim, layer.value_dim(), layer.dtype}),
                  block_elements = block_bytes / kernels::KvElementBytes(layer.dtype);
    return {.space = bundle::Space::kKvCache,
            .dtype = layer.dtype,
            .offset = layer.offset,
            .bytes = layer.bytes,
            .rows = static_cast<int64_t>(layer.bytes) / block_bytes,
            .cols = block_elements,
            .stride = block_elements};
  }

  [[nodiscard]] Operand StateOperand(int32_t index) const {
    const bundle::StateEntry& state = context_.kv.states[static_cast<size_t>(index)];
    const int64_t stride = bundle::StateStride(state.floats);
    return {.space = bundle::Space::kKvCache,
            .dtype = DType::kF32,
            .offset = state.offset,
            .bytes = state.bytes,
            .rows = static_cast<int64_t>(state.bytes) / (stride * static_cast<int64_t>(sizeof(float))),
            .cols = stride,
            .stride = stride};
  }

  void LowerNode(size_t index, std::vector<Call>& calls) const {
    const Node& node = graph_.nodes[index];
    if (node.op == Op::kSlice) return;
    Call call = LowerToCall(index);
    if (node.op != Op::kSample || std::get<graph::SampleAttrs>(node.attrs).vocab == 0) {
      calls.push_back(std::move(call));
    } else {
      std::ranges::move(ShareSample(call, graph_.place, std::get<graph::SampleAttrs>(node.attrs).vocab), std::back_inserter(calls));
    }
  }

  [[nodiscard]] Call LowerToCall(size_t index) const {
    const Node& node = graph_.nodes[index];
    Call call{.kernel = std::string(graph::Name(node.op)), .label = node.scope, .operands = {}, .ints = {}, .floats = {}};
    // Most kernels: result, then the f32 operands in order. Step inputs are not operands: kernels find them in the StepView.
    if (!graph::IsKvCache(graph_.value(node.outputs[0]))) call.operands.push_back(OperandOf(node.outputs[0]));
    for (ValueId input : node.inputs) {
      const graph::Source source = graph_.value(input).source;
      if (source == graph::Source::kNode || source == graph::Source::kWeight || source == graph::Source::kKvCache ||
          source == graph::Source::kState || source == graph::Source::kActivation)
        call.operands.push_back(OperandOf(input));
    }
    const Operand workspace = workspaces_[index] ? arena_.Workspace(*workspaces_[index]) : Operand{};
    call.ints[kernels::kDomain] =
        static_cast<int64_t>(follows_outputs_[static_cast<size_t>(node.outputs[0])] ? kernels::Domain::kOutputs : kernels::Domain::kRows);
    call.ints[kernels::kRowMultiple] = RowMultiple(node) == 1 ? 0 : RowMultiple(node);
    SetParams(node, call);
    Specialise(node, workspace, call);
    return call;
  }

  // What the general form lacks: names by weight type, optional operands, workspaces, parameters that attributes do not hold.
  void Specialise(const Node& node, const Operand& workspace, Call& call) const {
    switch (node.op) {
      case Op::kEmbedding:
        call.kernel = StrCat("embed_", WeightsOf(call.operands[1]));
        break;
      case Op::kMatMul:
        LowerMatMul(node, workspace, call);
        break;
      case Op::kRope:
      case Op::kNormRope:
        call.ints[kernels::rope_params::kHasRows] = RopeRowsOf(node);
        break;
      case Op::kKvUpdate:
        call.kernel = "kv_write";
        SetCacheParams(node.inputs[0], call);
        break;
      case Op::kAttention:
        SetCacheParams(node.inputs[1], call);
        call.operands.insert(call.operands.begin() + 3, workspace);  // sinks, if any, follow it
        call.kernel = AttentionKernel(call, std::get<graph::AttentionAttrs>(node.attrs).has_sinks);
        break;
      case Op::kSample:
        call.operands.insert(call.operands.end(), {workspace, OperandOf(node.outputs[1])});
        break;
      case Op::kCausalConv:
      case Op::kGatedDeltaRule:
      case Op::kSsmScan:
        call.ints[kernels::state_params::kEntries] = context_.kv.states[static_cast<size_t>(graph_.value(node.inputs[0]).index)].entries;
        break;
      case Op::kRoute:
      case Op::kExpertGroup:
        call.operands.insert(call.operands.begin() + 1, OperandOf(node.outputs[1]));
        break;
      case Op::kHeadMatMul:
      case Op::kExpertMatMul:
        call.kernel = StrCat(call.kernel, '_', WeightsOf(call.operands[2]));
        if (node.op == Op::kExpertMatMul && !std::get<graph::ExpertAttrs>(node.attrs).has_bias) call.operands.emplace_back();
        call.operands.push_back(workspace);
        break;
      case Op::kExpertExchange:
      case Op::kRowGather:
      case Op::kAllReduce:
      case Op::kAllGather:
        LowerTogether(node, workspace, call);
        break;
      default:
        break;
    }
  }

  // What ranks do together, most of it in place: then the operand that is the result stands once. A rank may have nothing to give.
  static void LowerTogether(const Node& node, const Operand& workspace, Call& call) {
    switch (node.op) {
      case Op::kExpertExchange:
        if (node.inputs.size() == 3) {
          Assert(call.operands[0] == call.operands[3]);
          call.operands.pop_back();
        }
        call.operands.push_back(workspace);
        break;
      case Op::kAllGather:
        if (node.inputs.empty()) call.operands.emplace_back();
        call.operands.push_back(workspace);
        break;
      default:
        Assert(call.operands[0] == call.operands[1] && call.operands[0].stride < call.operands[0].cols + kernels::kLanes);
        call.operands.pop_back();
        break;
    }
  }

  [[nodiscard]] int64_t RopeRowsOf(const Node& node) const {
    if (graph_.value(node.inputs[2]).source == graph::Source::kNode) return 2;
    return graph_.value(node.inputs[1]).source == graph::Source::kRopeRows ? 1 : 0;
  }

  static std::string AttentionKernel(const Call& call, bool has_sinks) {
    const kernels::AttentionShape shape = kernels::ShapeOfAttention({.ints = call.ints, .floats = call.floats}, has_sinks);
    const kernels::AttentionRow* row = kernels::FindAttentionRow(shape);
    Require(row != nullptr, ErrorCode::kUnsupported, "export: no attention kernel serves ", call.label, ": ", kernels::ToString(shape),
            "; supported:\n", kernels::PrintAttentionTable());
    return std::string(row->kernel);
  }

  // Rows of the node for each row of the step: k where every row goes to k experts.
  [[nodiscard]] int64_t RowMultiple(const Node& node) const {
    const Shape& shape = ShapeOf(node.outputs[0]);
    return follows_outputs_[static_cast<size_t>(node.outputs[0])] || shape.empty() ? 1 : std::max<int64_t>(1, shape[0] / graph_.rows);
  }

  void LowerMatMul(const Node& node, const Operand& workspace, Call& call) const {
    const auto& attrs = std::get<graph::MatMulAttrs>(node.attrs);
    call.kernel = StrCat("matmul_", WeightsOf(call.operands[2]));
    if (!attrs.has_bias) call.operands.insert(call.operands.begin() + 3, Operand{});
    if (!attrs.has_residual) call.operands.push_back(Operand{});
    call.operands.push_back(workspace);
  }

  void SetCacheParams(ValueId cache, Call& call) const {
    const bundle::KvLayer& layer = context_.kv.layers[static_cast<size_t>(graph_.value(cache).index)];
    call.ints[kernels::attention_params::kKvHeads] = layer.kv_heads;
    call.ints[kernels::attention_params::kHeadDim] = layer.head_dim;
    call.ints[kernels::attention_params::kVDim] = layer.v_dim;
    call.ints[kernels::attention_params::kGroup] = layer.group;
    call.ints[kernels::attention_params::kNumBlocks] = OperandOf(cache).rows;
  }

  const graph::Graph& graph_;
  const LoweringContext& context_;
  const std::set<ValueId> kept_;
  ArenaValues arena_;
  std::vector<std::optional<size_t>> workspaces_;   // by node
  std::vector<bool> follows_outputs_;               // by value
};

}  // namespace

bundle::Plan LowerToCpu(const graph::Graph& graph, const LoweringContext& context) { return Lowering(graph, context).Run(); }

}  // namespace intaglio::compiler
