// Typed construction of graphs. A Builder is a cheap handle: the graph it adds to and the scope it is in, spelled as in the checkpoint.
// Layers take one by value and hand narrower ones on: RmsNorm(b.In("input_layernorm"), x, norm).
// A misuse (shapes that do not fit, a weight declared twice in two ways) is a bug of ours: std::logic_error that names op and scope.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.h"

namespace intaglio::graph {

// A value of the graph under construction.
struct ValueRef {
  Graph* graph = nullptr;
  ValueId id = kNoValue;
  [[nodiscard]] const Shape& shape() const { return graph->value(id).shape; }
  // REQUIRES: it is one
  [[nodiscard]] const Weight& weight() const { return graph->weights[static_cast<size_t>(graph->value(id).index)]; }
};

class Builder {
 public:
  // `graph` has its phase and sizes, and nothing else yet; it outlives the builder. Declares the step's inputs.
  explicit Builder(Graph& graph);

  // The scope "<this scope>.<name>".
  [[nodiscard]] Builder In(std::string_view name) const;
  // The scope "<this scope>.layers.<layer>"; probes and KV caches within belong to that layer. `list`: the checkpoint's word for "layers".
  [[nodiscard]] Builder InLayer(int32_t layer, std::string_view list = "layers") const;
  [[nodiscard]] const std::string& scope() const { return scope_; }

  // The step's own data: i32 [rows], output_rows i32 [outputs].
  [[nodiscard]] ValueRef tokens() const { return {graph_, 0}; }
  [[nodiscard]] ValueRef positions() const { return {graph_, 1}; }
  [[nodiscard]] ValueRef slots() const { return {graph_, 2}; }
  [[nodiscard]] ValueRef output_rows() const { return {graph_, 3}; }
  [[nodiscard]] int64_t max_context() const { return graph_->max_context; }
  // Whose graph it is.
  [[nodiscard]] const RankPlace& place() const { return graph_->place; }
  [[nodiscard]] int64_t rows() const { return graph_->rows; }
  [[nodiscard]] ExpertDispatch expert_dispatch() const { return graph_->expert_dispatch; }
  // Rows that an expert takes when each of the graph's rows chooses `top_k` of `num_experts`; 0: all of them.
  [[nodiscard]] int64_t ExpertCapacity(int64_t top_k, int64_t num_experts) const;
  // Each row's row in rotary tables that change with a sequence's length, declared on first use; see Graph::rope_switch.
  [[nodiscard]] ValueRef rope_rows(int64_t rope_switch) const;
  // Cosines and sines of this step's rows by the length of their sequence; `frequencies` and `attrs` as the op's. Computed once a graph.
  [[nodiscard]] ValueRef Rotary(ValueRef frequencies, const RotaryAttrs& attrs) const;

  // The checkpoint's tensor "<scope>.<name>", declared here. A second declaration of a name is the same weight (tied).
  // `add` is added to every element.
  [[nodiscard]] ValueRef Weight(std::string_view name, Shape shape, Shard shard, Layout layout, float add = 0.0f) const;
  // A table computed at export, shared by every layer that names it (its name has no scope).
  [[nodiscard]] ValueRef Table(const std::string& name, Shape shape, std::shared_ptr<const std::vector<float>> data) const;
  // The KV cache of the layer this builder is in (cache.layer is set here). REQUIRES: within InLayer(), once a layer.
  [[nodiscard]] ValueRef Cache(const KvCache& cache) const;

  // A recurrent state of the layer this builder is in (state.layer is set here). REQUIRES: within InLayer(), a name once a layer.
  [[nodiscard]] ValueRef State(graph::State state) const;

  // A weight of any layout and origin; its name gets the scope. The graph's policy decides the format of a matrix. Throws Error kInvalidArgument
  // where ranks cut K within a unit of it.
  [[nodiscard]] ValueRef Declare(graph::Weight weight) const;

  // Appends a node; the general form of the functions below. Returns its outputs.
  std::vector<ValueRef> Emit(Op op, const std::vector<ValueRef>& inputs, Attrs attrs = NoAttrs{}) const;
  // Names a value for parity tests: "attn_in" within layer 3 is "layer3.attn_in". Returns `value`.
  ValueRef Probe(std::string_view name, ValueRef value) const;

 private:
  [[nodiscard]] ValueRef DeclareNamed(graph::Weight weight) const;
  [[nodiscard]] ValueRef RopeRows() const;

  Graph* graph_;
  std::string scope_;
  int32_t layer_ = -1;   // -1: outside of the layers
};

// x * transpose(weight) + bias; see ops.inc for shapes.
struct MatMulOperands {
  ValueRef x, weight, bias{}, residual{};
};
// Borders move up to the units of the weight's format. `leaves` < 8: a rank's part of the sum, without bias and residual; see MatMulAttrs.
[[nodiscard]] ValueRef MatMul(const Builder& b, const MatMulOperands& operands, const Segments& segments, int64_t leaves = kNumSegments);
// The table's rows are those of the ids from `first_id` on.
[[nodiscard]] ValueRef Embedding(const Builder& b, ValueRef table, float scale, int64_t first_id = 0);
// Every run of `attrs.width` columns is divided by its root mean square (eps added to the mean), then multiplied by `weight`.
[[nodiscard]] ValueRef RmsNorm(const Builder& b, ValueRef x, ValueRef weight, const NormAttrs& attrs);
// `rows`: b.rope_rows(…), or b.positions() if it is not given.
[[nodiscard]] ValueRef Rope(const Builder& b, ValueRef x, ValueRef table, const RopeAttrs& attrs, ValueRef rows = {});
// The cache with this step's rows in it.
[[nodiscard]] ValueRef KvUpdate(const Builder& b, ValueRef cache, ValueRef k, ValueRef v);
// softmax(q k^T * scale) v over the keys of the row's slot that attrs.IsVisible. `sinks`: present if and only if attrs.has_sinks; a
// head's sink is one more logit of its softmax, which has no value.
[[nodiscard]] ValueRef Attention(const Builder& b, ValueRef q, ValueRef cache, const AttentionAttrs& attrs, ValueRef sinks = {});
// x times the entry of `table` [max_context, 1] at each row's position.
[[nodiscard]] ValueRef ScaleByPosition(const Builder& b, ValueRef x, ValueRef table);
// Each head's columns of x times transpose(its matrix of `weight` [heads, N, K]); `segments` cut K, as in MatMul.
[[nodiscard]] ValueRef HeadMatMul(const Builder& b, ValueRef x, ValueRef weight, const Segments& segments);
// For each of attrs.heads heads its columns of `x`, then those of `y`, or all of `y` where attrs.is_shared.
[[nodiscard]] ValueRef HeadConcat(const Builder& b, ValueRef x, ValueRef y, const HeadAttrs& attrs);
// Columns [attrs.begin, attrs.begin + attrs.size) of x.
[[nodiscard]] ValueRef Slice(const Builder& b, ValueRef x, const SliceAttrs& attrs);
[[nodiscard]] ValueRef Add(const Builder& b, ValueRef x, ValueRef y);
[[nodiscard]] ValueRef Mul(const Builder& b, ValueRef x, ValueRef y);
// x itself where the factor is 1.
[[nodiscard]] ValueRef Scale(const Builder& b, ValueRef x, float factor);
[[nodiscard]] ValueRef Softcap(const Builder& b, ValueRef x, float cap);
[[nodiscard]] ValueRef Silu(const Builder& b, ValueRef x);
[[nodiscard]] ValueRef GeluTanh(const Builder& b, ValueRef x);
// x * vector, in every row.
[[nodiscard]] ValueRef ScaleColumns(const Builder& b, ValueRef x, ValueRef vector);
// x * sigmoid(gate); a gate of one column is a row's own.
[[nodiscard]] ValueRef SigmoidGate(const Builder& b, ValueRef x, ValueRef gate);
[[nodiscard]] ValueRef GatherRows(const Builder& b, ValueRef x);
[[nodiscard]] ValueRef Gelu(const Builder& b, ValueRef x);
[[nodiscard]] ValueRef Tanh(const Builder& b, ValueRef x);
// (x - mean) / sqrt(variance + eps) * weight + bias over whole rows.
struct LayerNormWeights {
  ValueRef weight, bias;
};
[[nodiscard]] ValueRef LayerNorm(const Builder& b, ValueRef x, const LayerNormWeights& weights, float eps);
// Each row divided by its length, but by no less than 1e-12.
[[nodiscard]] ValueRef UnitNorm(const Builder& b, ValueRef x);
// (x + constant) + table[position of the row].
[[nodiscard]] ValueRef AddPosition(const Builder& b, ValueRef x, ValueRef table, ValueRef constant);
// One row for each output row, of the sequence that ends there. It must have begun in the same step.
[[nodiscard]] ValueRef Pool(const Builder& b, ValueRef x, PoolMode mode);
struct Sampled {
  ValueRef ids, logprobs;
};
// `vocab`: of all ranks, if the logits are this rank's columns of it.
[[nodiscard]] Sampled Sample(const Builder& b, ValueRef logits, int64_t vocab = 0);

// What ranks do together; not for a graph of one rank. All ranks' graphs have the same ones in the same order.
// The sum of all ranks' x.
[[nodiscard]] ValueRef AllReduce(const Builder& b, ValueRef x);
// The columns of all ranks side by side. Rank r's are [borders[r], borders[r + 1]); one that has none gives no `x`, and rows are the phase's.
[[nodiscard]] ValueRef AllGather(const Builder& b, ValueRef x, const Segments& borders);
// What experts made of rows, in expert order [R * k, C], as ExpertGroup says where: to each rank comes what belongs to its own share of the
// step's rows, and all else is undefined. `y`: what the rank's own experts made; null from a rank that has none.
struct ExchangedRows {
  ValueRef y, positions, offsets;
};
[[nodiscard]] ValueRef ExpertExchange(const Builder& b, const ExchangedRows& rows, const ExchangeAttrs& attrs);
// All rows of x, of which each rank has its own share: of R live ones, rank r of N has [R r / N, R (r + 1) / N).
[[nodiscard]] ValueRef RowGather(const Builder& b, ValueRef x);
// x + bias in every row.
[[nodiscard]] ValueRef AddBias(const Builder& b, ValueRef x, ValueRef bias);
// +0 in `cols` columns, for each row of the phase `multiple` rows.
[[nodiscard]] ValueRef Zeros(const Builder& b, int64_t cols, int64_t multiple = 1);
// One number a row: the sum of the squares of the columns in attrs.segments.
[[nodiscard]] ValueRef SquareSum(const Builder& b, ValueRef x, const SquareSumAttrs& attrs);
// x / sqrt(sums / width + eps) * weight, where `sums` [R, 1] are of attrs.width columns.
[[nodiscard]] ValueRef NormBy(const Builder& b, ValueRef x, ValueRef sums, ValueRef weight, const NormAttrs& attrs);
// y [R * k, C] in expert order, with -0 in the rows of other experts than [attrs.first_expert, attrs.end_expert()).
[[nodiscard]] ValueRef ExpertIsolate(const Builder& b, ValueRef y, ValueRef offsets, const ExpertAttrs& attrs);
// y [R * k, C] in expert order plus the row of `bias` [E, C] of each row's expert.
[[nodiscard]] ValueRef ExpertBias(const Builder& b, ValueRef y, ValueRef offsets, ValueRef bias);

}  // namespace intaglio::graph
