// q, k and v read the same rows: one matmul over their stacked weights packs the activations once and has fewer, longer tasks. Where they are
// stored in several formats (GGUF files have v in more bits), those of one format are stacked.
#include <algorithm>
#include <map>

#include "base/strings.h"
#include "compiler/passes/passes.h"
#include "compiler/passes/rewrite.h"

namespace intaglio::compiler {
namespace {

using graph::Graph;
using graph::MatMulAttrs;
using graph::Node;
using graph::Op;
using graph::ValueId;

// Matmuls that may be stacked: same input and scope ("…self_attn" around "…self_attn.q_proj"), same format and K order,
// all with or without a bias.
struct Key {
  ValueId x;
  std::string scope;
  DType dtype;
  graph::Segments segments;
  bool has_bias;
  auto operator<=>(const Key&) const = default;
};

// True for the weights that make q, k and v: those whose rows are heads.
bool MakesHeads(const graph::Weight& weight) {
  return std::ranges::all_of(weight.sources, [](const graph::WeightSource& source) {
    return source.shard == graph::Shard::kQueryHeads || source.shard == graph::Shard::kKvHeads;
  });
}

std::map<Key, std::vector<size_t>> Groups(const Graph& graph) {
  std::map<Key, std::vector<size_t>> groups;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    if (node.op != Op::kMatMul || !MakesHeads(WeightOf(graph, node))) continue;
    const auto& attrs = std::get<MatMulAttrs>(node.attrs);
    if (attrs.has_residual) continue;
    groups[{node.inputs[0], ParentScope(node.scope), WeightOf(graph, node).dtype, attrs.segments, attrs.has_bias}].push_back(i);
  }
  return groups;
}

// "qkv_proj"; in a graph that has one by this name, of other formats, "qkv_proj_int8g64".
std::string ScopeOf(const Graph& graph, const Key& key) {
  std::string scope = key.scope + ".qkv_proj";
  const bool is_taken = std::ranges::find(graph.weights, scope + ".weight", &graph::Weight::name) != graph.weights.end();
  return is_taken ? StrCat(scope, '_', key.dtype) : scope;
}

// The fused node takes the first matmul's place; the others become slices of it where they stood.
void Fuse(Graph& graph, const Key& key, const std::vector<size_t>& members) {
  const std::string scope = ScopeOf(graph, key);
  std::vector<ValueId> weights, biases;
  int64_t cols = 0;
  for (size_t i : members) {
    weights.push_back(graph.nodes[i].inputs[1]);
    if (key.has_bias) biases.push_back(graph.nodes[i].inputs[2]);
    cols += graph.value(graph.nodes[i].outputs[0]).shape[1];
  }
  const ValueId fused = AddValue(graph, {graph.value(key.x).shape[0], cols});
  Node matmul{.op = Op::kMatMul,
              .inputs = {key.x, StackWeights(graph, weights, scope + ".weight")},
              .outputs = {fused},
              .attrs = MatMulAttrs{.segments = key.segments, .has_bias = key.has_bias, .has_residual = false},
              .scope = scope};
  if (key.has_bias) matmul.inputs.push_back(StackWeights(graph, biases, scope + ".bias"));
  int64_t begin = 0;
  for (size_t i : members) {
    Node& node = graph.nodes[i];
    const int64_t size = graph.value(node.outputs[0]).shape[1];
    node = {
        .op = Op::kSlice, .inputs = {fused}, .outputs = node.outputs, .attrs = graph::SliceAttrs{.begin = begin, .size = size}, .scope = node.scope};
    begin += size;
  }
  graph.nodes.insert(graph.nodes.begin() + static_cast<ptrdiff_t>(members.front()), std::move(matmul));
}

}  // namespace

void FuseQkv(Graph& graph, const PassOptions&) {
  for (bool has_changed = true; has_changed;) {
    has_changed = false;
    for (const auto& [key, members] : Groups(graph)) {
      if (members.size() < 2) continue;
      Fuse(graph, key, members);
      has_changed = true;  // positions of other groups have moved
      break;
    }
  }
}

}  // namespace intaglio::compiler
