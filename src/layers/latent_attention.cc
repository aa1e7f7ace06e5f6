#include "layers/latent_attention.h"

namespace intaglio::layers {

using graph::Builder;
using graph::Layout;
using graph::Shard;
using graph::SourceView;
using graph::ValueRef;
using graph::WeightSource;

namespace {

// A tensor of the checkpoint whose rows are `heads` runs of `head_rows`, and which of those heads are this rank's.
struct HeadTensor {
  std::string_view module;   // below the attention's scope
  int64_t heads = 0, head_rows = 0;
  Range own;
  Shard shard = Shard::kReplicated;
};
// Rows of every head: `count` from `first` on; rotary pairs that are neighbours are taken apart, even rows first. `bias` is theirs.
struct HeadRows {
  int64_t first = 0, count = 0;
  bool is_interleaved = false;
  Bias bias = Bias::kNone;
};

RowRuns RunsOf(const HeadTensor& tensor, const HeadRows& rows) {
  return {.first_row = tensor.own.begin * tensor.head_rows + rows.first,
          .rows = rows.count,
          .count = tensor.own.size(),
          .step = tensor.head_rows,
          .takes_pairs_apart = rows.is_interleaved};
}

// x times those rows, as a projection of its own named `name`.
ValueRef Project(const Builder& b, ValueRef x, std::string_view name, const HeadTensor& tensor, const HeadRows& rows) {
  return StackedLinear(b, x, {.name = name, .bias = rows.bias, .shard = tensor.shard},
                       {.module = tensor.module, .all_rows = tensor.heads * tensor.head_rows, .runs = {RunsOf(tensor, rows)}});
}

class Latent {
 public:
  Latent(const Builder& b, const LatentAttentionConfig& config)
      : b_(b),
        c_(config),
        segments_(HeadSegments(c_.heads, c_.heads, c_.v_dim)),
        own_(HeadsOf(c_.heads, c_.heads, b.place()).query),
        expansion_{.module = "kv_b_proj", .heads = c_.heads, .head_rows = c_.nope_dim + c_.v_dim, .own = own_, .shard = Shard::kQueryHeads} {}

  [[nodiscard]] ValueRef Run(ValueRef x) const {
    b_.Probe("attn_in", x);
    const ValueRef context = own_.is_empty() ? ValueRef{} : Context(x);
    const KSplit split{.shard = Shard::kHeadColumns, .segments = segments_};
    return b_.Probe("attn_out", RowParallelLinear(b_.In("o_proj"), context, x.shape()[1], c_.bias, split));
  }

 private:
  // What goes into o_proj, for this rank's heads. The latent is no head's own: every rank that has heads has all of it.
  [[nodiscard]] ValueRef Context(ValueRef x) const {
    const HeadTensor queries{.module = c_.q_rank == 0 ? "q_proj" : "q_b_proj",
                             .heads = c_.heads,
                             .head_rows = c_.nope_dim + c_.rope_dim,
                             .own = own_,
                             .shard = Shard::kQueryHeads};
    const ValueRef from =
        c_.q_rank == 0 ? x : RmsNorm(b_.In("q_a_layernorm"), ColumnParallelLinear(b_.In("q_a_proj"), x, EveryRow(c_.q_rank), c_.bias), c_.norm);
    const ValueRef q_nope = Project(b_, from, "q_nope", queries, {.count = c_.nope_dim});
    const ValueRef q_rope =
        Rotate(Project(b_, from, "q_rope", queries, {.first = c_.nope_dim, .count = c_.rope_dim, .is_interleaved = c_.is_interleaved}));
    const HeadTensor compressed{.module = "kv_a_proj_with_mqa", .heads = 1, .head_rows = c_.kv_rank + c_.rope_dim, .own = {0, 1}};
    const ValueRef latent =
        RmsNorm(b_.In("kv_a_layernorm"), Project(b_, x, "kv_latent", compressed, {.count = c_.kv_rank, .bias = c_.bias}), c_.norm);
    const ValueRef k_rope = Rotate(
        Project(b_, x, "k_rope", compressed, {.first = c_.kv_rank, .count = c_.rope_dim, .is_interleaved = c_.is_interleaved, .bias = c_.bias}));
    if (b_.place().is_alone()) ProbeExpanded(latent, q_nope, q_rope, k_rope);
    return ProbeWhole(b_, "attn_ctx", Attend(latent, q_nope, q_rope, k_rope));
  }

  [[nodiscard]] ValueRef Rotate(ValueRef x) const { return Rope(b_, x, c_.rope_dim, *c_.rope); }

  // q k = q_nope (K latent) + q_rope k_rope = (transpose(K) q_nope) latent + q_rope k_rope; values likewise after the weighted sum.
  [[nodiscard]] ValueRef Attend(ValueRef latent, ValueRef q_nope, ValueRef q_rope, ValueRef k_rope) const {
    const ValueRef absorbed = HeadMatMul(b_.In("absorb_k"), q_nope, KeyExpansion(), PlainSegments(c_.nope_dim));
    const ValueRef q = HeadConcat(b_, absorbed, q_rope, {.heads = own_.size()});
    const int64_t key_dim = c_.kv_rank + c_.rope_dim;
    const ValueRef cache =
        KvUpdate(b_, b_.Cache({.kv_heads = 1, .head_dim = key_dim, .v_dim = c_.kv_rank}), HeadConcat(b_, latent, k_rope, {.heads = 1}), latent);
    const ValueRef context =
        Attention(b_, q, cache, {.heads = own_.size(), .kv_heads = 1, .head_dim = key_dim, .scale = c_.scale, .v_dim = c_.kv_rank});
    return HeadMatMul(b_.In("absorb_v"), context, ValueExpansion(), PlainSegments(c_.kv_rank));
  }

  // What Transformers has in memory. Nothing else reads these values, so they are gone where probes are.
  void ProbeExpanded(ValueRef latent, ValueRef q_nope, ValueRef q_rope, ValueRef k_rope) const {
    HeadTensor expansion = expansion_;
    expansion.shard = Shard::kReplicated;   // not for ranks, nor for fusing
    const ValueRef k_nope = Project(b_, latent, "k_nope", expansion, {.count = c_.nope_dim});
    b_.Probe("q_rope", HeadConcat(b_, q_nope, q_rope, {.heads = c_.heads}));
    b_.Probe("k_rope", HeadConcat(b_, k_nope, k_rope, {.heads = c_.heads, .is_shared = true}));
    b_.Probe("v", Project(b_, latent, "v", expansion, {.first = c_.nope_dim, .count = c_.v_dim}));
  }

  [[nodiscard]] WeightSource ExpansionSource() const {
    return {.name = b_.In(expansion_.module).scope() + ".weight",
            .shape = {expansion_.heads * expansion_.head_rows, c_.kv_rank},
            .shard = Shard::kQueryHeads};
  }

  // Each head's part of kv_b_proj that makes keys, transposed: [heads, kv_rank, nope_dim].
  [[nodiscard]] ValueRef KeyExpansion() const {
    std::vector<WeightSource> sources;
    for (int64_t head = own_.begin; head < own_.end; ++head) {
      WeightSource source = ExpansionSource();
      source.view = SourceView::kColumns;
      source.first_k = head * expansion_.head_rows;
      source.num_k = c_.nope_dim;
      sources.push_back(std::move(source));
    }
    return b_.Declare(
        {.name = "absorb_k.weight", .shape = {own_.size(), c_.kv_rank, c_.nope_dim}, .layout = Layout::kExperts, .sources = std::move(sources)});
  }

  // The part that makes values: [heads, v_dim, kv_rank].
  [[nodiscard]] ValueRef ValueExpansion() const {
    return b_.Declare({.name = "absorb_v.weight",
                       .shape = {own_.size(), c_.v_dim, c_.kv_rank},
                       .layout = Layout::kExperts,
                       .sources = RowsOf(ExpansionSource(), RunsOf(expansion_, {.first = c_.nope_dim, .count = c_.v_dim}))});
  }

  const Builder b_;
  const LatentAttentionConfig& c_;
  const graph::Segments segments_;   // of o_proj's K
  const Range own_;                  // heads of this rank
  const HeadTensor expansion_;
};

}  // namespace

ValueRef LatentAttention(const Builder& b, ValueRef x, const LatentAttentionConfig& config) { return Latent(b, config).Run(x); }

}  // namespace intaglio::layers
