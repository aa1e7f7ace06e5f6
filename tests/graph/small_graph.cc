#include "tests/graph/small_graph.h"

namespace intaglio::graph {
namespace {

constexpr Segments kSegmentsOf8{0, 1, 2, 3, 4, 5, 6, 7, 8};

ValueRef Linear(const Builder& b, ValueRef x, int64_t out) {
  return MatMul(b, {.x = x, .weight = b.Weight("weight", {out, 8}, Shard::kRows, Layout::kMatmul)}, kSegmentsOf8);
}

ValueRef SmallAttention(const Builder& b, ValueRef x) {
  const auto table_data = std::make_shared<const std::vector<float>>(32 * 4, 0.5f);
  const ValueRef table = b.Table("rope", {32, 4}, table_data);
  const ValueRef q = Rope(b, Linear(b.In("q_proj"), x, 8), table, {.head_dim = 4, .rotary_dim = 4});
  const ValueRef k = Rope(b, Linear(b.In("k_proj"), x, 4), table, {.head_dim = 4, .rotary_dim = 4});
  const ValueRef v = b.Probe("v", Linear(b.In("v_proj"), x, 4));
  const ValueRef cache = KvUpdate(b, b.Cache({.kv_heads = 1, .head_dim = 4, .window = 16}), k, v);
  const ValueRef context = Attention(b, q, cache, {.heads = 2, .kv_heads = 1, .head_dim = 4, .window = 16, .scale = 0.5f});
  const Builder o = b.In("o_proj");
  const MatMulOperands operands{.x = context,
                                .weight = o.Weight("weight", {8, 8}, Shard::kHeadColumns, Layout::kMatmul),
                                .bias = o.Weight("bias", {8}, Shard::kReplicated, Layout::kVector)};
  return b.Probe("attn_out", MatMul(o, operands, kSegmentsOf8));
}

}  // namespace

Graph EmptyGraph() {
  Graph graph;
  graph.rows = 4, graph.outputs = 2, graph.max_context = 32;
  return graph;
}

Graph SmallGraph() {
  Graph graph = EmptyGraph();
  const Builder root(graph), model = root.In("model"), layer = model.InLayer(0), norm = model.In("norm");
  const ValueRef table = model.In("embed_tokens").Weight("weight", {5, 8}, Shard::kVocab, Layout::kMatmul);
  ValueRef x = root.Probe("hidden.embed", Embedding(model.In("embed_tokens"), table, 2.5f));
  x = Add(layer, x, SmallAttention(layer.In("self_attn"), x));
  const ValueRef silu = Silu(layer, x);
  x = Add(layer, x, Mul(layer, silu, GeluTanh(layer, x)));
  const ValueRef norm_weight = norm.Weight("weight", {8}, Shard::kReplicated, Layout::kVector, /*add=*/1.0f);
  x = RmsNorm(norm, GatherRows(model, x), norm_weight, {.eps = 1e-6f, .width = 8});
  const ValueRef logits = MatMul(root.In("lm_head"), {.x = x, .weight = table}, kSegmentsOf8);
  const Sampled sampled = Sample(root.In("sampler"), logits);
  graph.logits = logits.id, graph.ids = sampled.ids.id, graph.logprobs = sampled.logprobs.id;
  return graph;
}

}  // namespace intaglio::graph
