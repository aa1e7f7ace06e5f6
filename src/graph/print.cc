#include "graph/print.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "base/strings.h"
#include "graph/infer.h"

namespace intaglio::graph {
namespace {

std::string_view Name(Shard shard) {
  constexpr std::array<std::string_view, 7> kNames{"replicated", "rows", "columns", "query_heads", "kv_heads", "head_columns", "vocab"};
  return static_cast<size_t>(shard) < kNames.size() ? kNames[static_cast<size_t>(shard)] : "?";
}

std::string_view Name(Layout layout) {
  constexpr std::array<std::string_view, 4> kNames{"matmul", "vector", "table", "experts"};
  return static_cast<size_t>(layout) < kNames.size() ? kNames[static_cast<size_t>(layout)] : "?";
}

template <typename T>
bool IsInRange(int64_t index, const std::vector<T>& values) {
  return index >= 0 && index < static_cast<int64_t>(values.size());
}

std::string Ref(const Graph& graph, ValueId id) {
  if (!IsInRange(id, graph.values)) return StrCat("%?", id);
  const Value& value = graph.value(id);
  switch (value.source) {
    case Source::kTokens:
      return "%tokens";
    case Source::kPositions:
      return "%positions";
    case Source::kSlots:
      return "%slots";
    case Source::kOutputRows:
      return "%output_rows";
    case Source::kRopeRows:
      return "%rope_rows";
    case Source::kWeight:
      return IsInRange(value.index, graph.weights) ? StrCat('@', graph.weights[static_cast<size_t>(value.index)].name) : StrCat("@?", value.index);
    case Source::kState:
      return StrCat('$', value.label);
    case Source::kActivation:
      return "%activation";
    case Source::kNode:
    case Source::kKvCache:
      break;
  }
  if (!IsKvCache(value)) return StrCat('%', id);
  const std::string layer = IsInRange(value.index, graph.kv_caches) ? std::to_string(graph.kv_caches[static_cast<size_t>(value.index)].layer) : "?";
  return value.source == Source::kKvCache ? StrCat('$', layer) : StrCat('$', layer, '.', id);
}

struct AttrsPrinter {
  std::ostream& out;
  void operator()(const NoAttrs&) const {}
  void Leaves(int64_t leaves) const {
    if (leaves != kNumSegments) out << ", leaves " << leaves;
  }
  void operator()(const EmbeddingAttrs& a) const {
    out << " {scale " << Exact(a.scale);
    if (a.first_id != 0) out << ", ids from " << a.first_id;
    out << '}';
  }
  void operator()(const MatMulAttrs& a) const {
    out << " {segments " << Join(a.segments, " ");
    Leaves(a.leaves);
    out << (a.has_bias ? ", bias" : "") << (a.has_residual ? ", residual" : "") << '}';
  }
  void operator()(const NormAttrs& a) const {
    out << " {eps " << Exact(a.eps) << ", width " << a.width;
    if (a.is_segmented()) out << ", segments " << Join(a.segments, " ");
    out << '}';
  }
  void operator()(const ConvAttrs& a) const { out << (a.has_bias ? " {bias}" : ""); }
  void operator()(const RecurrenceAttrs& a) const {
    out << " {keys " << a.key_heads << " x " << a.key_dim << ", values " << a.value_heads << " x " << a.value_dim;
    if (a.least_step > 0) out << ", steps from " << Exact(a.least_step);
    if (std::isfinite(a.most_step)) out << ", steps to " << Exact(a.most_step);
    out << '}';
  }
  void operator()(const ScalarAttrs& a) const { out << " {" << Exact(a.value) << '}'; }
  void operator()(const RopeAttrs& a) const {
    out << " {head_dim " << a.head_dim << ", rotary_dim " << a.rotary_dim << (a.style == RopeStyle::kInterleaved ? ", interleaved" : ", halves");
    if (a.eps != 0) out << ", eps " << Exact(a.eps);
    out << '}';
  }
  void operator()(const SliceAttrs& a) const { out << " {columns " << a.begin << " to " << a.begin + a.size << '}'; }
  void operator()(const RouteAttrs& a) const {
    constexpr std::array<std::string_view, 3> kScorings{"softmax", "sigmoid", "softmax_of_top_k"};
    out << " {top " << a.top_k << " of " << a.num_experts << ", " << kScorings[static_cast<size_t>(a.scoring)] << (a.normalise ? ", normalised" : "");
    if (a.num_groups > 1) out << ", " << a.top_groups << " of " << a.num_groups << " groups";
    if (a.scale != 1) out << ", scale " << Exact(a.scale);
    out << '}';
  }
  void operator()(const ExpertAttrs& a) const {
    out << " {experts " << a.num_experts;
    if (a.own_experts >= 0) out << ", own " << a.first_expert << " to " << a.end_expert();
    if (a.segments.back() != 0) out << ", segments " << Join(a.segments, " ");
    Leaves(a.leaves);
    if (a.num_groups != kNumSegments) out << ", groups " << a.first_group << " to " << a.first_group + a.num_groups;
    if (a.num_shares != 1) out << ", rows of share " << a.share << " of " << a.num_shares;
    if (a.capacity != 0) out << ", capacity " << a.capacity;
    out << (a.has_bias ? ", bias" : "") << (a.has_weights ? ", weights" : "") << '}';
  }
  void operator()(const RotaryAttrs& a) const { out << " {from a length of " << a.first_length << '}'; }
  void operator()(const HeadAttrs& a) const { out << " {" << a.heads << (a.is_shared ? " heads share b}" : " heads}"); }
  void operator()(const PoolAttrs& a) const { out << (a.mode == PoolMode::kFirst ? " {first}" : " {mean}"); }
  void operator()(const GatherAttrs& a) const { out << " {borders " << Join(a.borders, " ") << '}'; }
  void operator()(const ExchangeAttrs& a) const { out << " {experts " << Join(a.experts, " ") << '}'; }
  void operator()(const ZerosAttrs&) const {}   // the result's shape says it all
  void operator()(const SquareSumAttrs& a) const {
    out << " {segments " << Join(a.segments, " ");
    Leaves(a.leaves);
    out << '}';
  }
  void operator()(const SampleAttrs& a) const {
    if (a.vocab != 0) out << " {of " << a.vocab << '}';
  }
  void operator()(const ClampAttrs& a) const { out << " {alpha " << Exact(a.alpha) << ", limit " << Exact(a.limit) << '}'; }
  void operator()(const AttentionAttrs& a) const {
    out << " {heads " << a.heads << ", kv_heads " << a.kv_heads << ", head_dim " << a.head_dim << ", window " << a.window << ", scale "
        << Exact(a.scale);
    if (a.v_dim != 0) out << ", v_dim " << a.v_dim;
    if (a.chunk != 0) out << ", chunk " << a.chunk;
    if (a.softcap != 0) out << ", softcap " << Exact(a.softcap);
    if (a.sees_both_ways) out << ", both ways";
    out << (a.has_sinks ? ", sinks}" : "}");
  }
};

void PrintWeight(std::ostream& out, const Weight& weight) {
  out << "  " << weight.name << ' ' << weight.shape << ' ' << Name(weight.layout);
  if (IsQuantized(weight.dtype)) out << ' ' << weight.dtype;
  if (weight.add != 0) out << " + " << Exact(weight.add);
  if (weight.sources.empty()) out << " constant";
  constexpr size_t kMostShown = 3;   // of the many that a stack of experts has
  for (size_t i = 0; i < std::min(weight.sources.size(), kMostShown); ++i) {
    const WeightSource& source = weight.sources[i];
    out << (i == 0 ? " <- " : ", ");
    if (source.name != weight.name) out << source.name << ' ' << source.shape << ' ';   // usually they are the same
    if (source.num_rows > 0) out << "rows " << source.first_row << " + " << source.row_step << " x " << source.num_rows << ' ';
    if (source.view == SourceView::kColumns) out << "transposed matrix " << source.matrix << ' ';
    if (source.num_k > 0) out << "from " << source.first_k << " x " << source.num_k << ' ';
    if (source.view == SourceView::kMxfp4Rows) out << "MXFP4 ";
    out << Name(source.shard);
  }
  if (weight.sources.size() > kMostShown) out << ", … (" << weight.sources.size() << " in all)";
  out << '\n';
}

void PrintNode(std::ostream& out, const Graph& graph, const Node& node) {
  out << "  ";
  std::string labels;
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    const ValueId id = node.outputs[i];
    out << (i == 0 ? "" : ", ") << Ref(graph, id);
    if (!IsInRange(id, graph.values)) continue;
    const Value& value = graph.value(id);
    if (value.dtype != DType::kF32) out << ' ' << value.dtype;
    if (!value.shape.empty()) out << ' ' << value.shape;
    if (!value.label.empty()) labels += StrCat(' ', value.label);
  }
  out << " = " << Name(node.op);
  for (size_t i = 0; i < node.inputs.size(); ++i) out << (i == 0 ? " " : ", ") << Ref(graph, node.inputs[i]);
  std::visit(AttrsPrinter{out}, node.attrs);
  out << "  # " << node.scope << (labels.empty() ? "" : ":") << labels << '\n';
}

}  // namespace

std::string Print(const Graph& graph) {
  std::ostringstream out;
  out << intaglio::Name(graph.phase) << " graph: " << graph.rows << " rows, " << graph.outputs << " outputs, max_context " << graph.max_context;
  if (!graph.place.is_alone()) out << ", rank " << graph.place.rank << " of " << graph.place.tp_degree << ", experts over " << graph.place.ep_degree;
  out << "\nweights\n";
  for (const Weight& weight : graph.weights) PrintWeight(out, weight);
  out << "kv_caches\n";
  for (const KvCache& cache : graph.kv_caches) {
    out << "  layer " << cache.layer << ": " << cache.kv_heads << " x " << cache.head_dim;
    if (cache.v_dim != 0) out << " + " << cache.v_dim;
    if (cache.window != 0) out << ", window " << cache.window;
    out << '\n';
  }
  if (!graph.states.empty()) out << "states\n";
  for (const State& state : graph.states) {
    out << "  layer " << state.layer << ' ' << state.name << ": " << state.floats << " floats, lookback " << state.lookback << '\n';
  }
  out << "nodes\n";
  for (const Node& node : graph.nodes) PrintNode(out, graph, node);
  if (graph.is_embedder()) {
    out << "results\n  embeddings " << Ref(graph, graph.embeddings) << '\n';
    return std::move(out).str();
  }
  out << "results\n  logits " << Ref(graph, graph.logits) << ", ids " << Ref(graph, graph.ids) << ", logprobs " << Ref(graph, graph.logprobs) << '\n';
  return std::move(out).str();
}

}  // namespace intaglio::graph
