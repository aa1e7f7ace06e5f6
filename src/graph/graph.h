// The static-shape IR: a graph is a list of nodes in execution order over values of fixed shape. Plain data; built by builder.h,
// checked by verify.h, printed by print.h, run by interpreter.h (the oracle), rewritten by compiler/passes, lowered by compiler/lower_cpu.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/dtype.h"
#include "base/phase.h"
#include "base/tensor.h"
#include "graph/rank_place.h"

namespace intaglio::graph {

enum class Op : uint8_t {
#define INTAGLIO_OP(name, text, least, most) k##name,
#include "graph/ops.inc"
#undef INTAGLIO_OP
};

using ValueId = int32_t;
inline constexpr ValueId kNoValue = -1;
inline constexpr int kNumSegments = 8;
using Segments = std::array<int64_t, kNumSegments + 1>;   // ascending borders of K: first 0, last K; segments may be empty

// Where a value comes from. kActivation: f32 [R, C] that whoever runs the graph writes into the arena first; a module of a model that is
// compiled by itself begins with one.
enum class Source : uint8_t { kNode, kWeight, kKvCache, kTokens, kPositions, kSlots, kOutputRows, kRopeRows, kState, kActivation };

// How a weight is cut over the ranks of a tensor-parallel group.
enum class Shard : uint8_t {
  kReplicated,
  kRows,          // output features: each rank computes its own columns of the product
  kColumns,       // input features: each rank sums its own part of K
  kQueryHeads,    // rows that are query heads (weights that make q), placed by the GQA strategy
  kKvHeads,       // rows that are key/value heads
  kHeadColumns,   // columns that are query heads (o_proj)
  kVocab,         // rows of the vocabulary
};
// How a weight's bytes are laid out for kernels.
enum class Layout : uint8_t {
  kMatmul,    // packed blocks of 16 columns
  kVector,    // one f32 row
  kTable,     // f32 rows
  kExperts,   // a stack [E, N, K] of matrices (experts, heads), each packed as kMatmul from a block of its own on
};

// How a part of a checkpoint's tensor becomes rows of a weight.
enum class SourceView : uint8_t {
  kRows,       // rows of the tensor seen as a matrix [product of all sizes but the last, last size]; a vector's rows are its elements
  kColumns,    // columns of one matrix of a stack [E, K, N] that is stored transposed
  kElements,   // single elements of the tensor seen as a vector
  kMxfp4Rows,  // rows of 4-bit floats in groups that share an exponent: u8 [..., groups, 16] with the exponents u8 [..., groups] in `scales`
};
inline constexpr int64_t kMxfp4Group = 32;   // elements that share an exponent (OCP Microscaling formats, 1.0)
// One tensor of the checkpoint, or a part of it: `num_rows` rows of its view from `first_row` on, `row_step` apart. Several are
// concatenated by rows into one weight (q, k, v; gate, up; experts).
struct WeightSource {
  std::string name;      // as in the checkpoint: "model.layers.0.self_attn.q_proj.weight"
  Shape shape;           // of the whole tensor, expected there
  Shard shard = Shard::kReplicated;
  SourceView view = SourceView::kRows;
  int64_t first_row = 0, num_rows = 0, row_step = 1;   // num_rows 0: all
  int64_t matrix = 0;    // kColumns: which of the stack
  int64_t first_k = 0, num_k = 0;   // the part of every row (kColumns: column) of a matrix that counts; num_k 0: all
  std::string scales{};  // kMxfp4Rows
  bool operator==(const WeightSource&) const = default;

  // Rows that it contributes, and elements of each; whole_cols() are those that the view has.
  [[nodiscard]] int64_t rows() const;
  [[nodiscard]] int64_t cols() const { return num_k > 0 ? num_k : whole_cols(); }
  [[nodiscard]] int64_t whole_cols() const;
};
// A weight as the layer that uses it declares it: loader, sharder, packer and parity test all walk these.
struct Weight {
  std::string name;      // scope name; the same name in two graphs or layers is the same weight (tied)
  Shape shape;
  Layout layout = Layout::kMatmul;
  std::vector<WeightSource> sources;                      // empty for a constant
  float add = 0.0f;                                       // added to every element (Gemma stores its norm weights minus one)
  std::shared_ptr<const std::vector<float>> constant{};   // computed at export (rotary tables); shared by all graphs
  DType dtype = DType::kF32;                              // as it is stored for kernels; of matrices alone it is another than f32
  int64_t unit_k = 1;                                     // segments of its K begin at multiples of this
};
// What a matrix is stored as, decided when a layer declares it.
struct WeightFormat {
  DType dtype = DType::kF32;
  int64_t unit_k = 1;
};
using FormatPolicy = std::function<WeightFormat(const Weight&)>;
// A layer's KV cache, as the attention that uses it declares it.
struct KvCache {
  int32_t layer = 0;
  int64_t kv_heads = 0, head_dim = 0;
  int64_t window = 0;    // positions in reach, of a sliding window or a chunk; 0: every earlier one
  int64_t v_dim = 0;     // 0: head_dim
  [[nodiscard]] int64_t value_dim() const { return v_dim == 0 ? head_dim : v_dim; }
};
// What a layer carries from token to token of a sequence beside its KV cache, as the op that uses it declares it. Every position of a
// sequence leaves an entry of so many floats; the row at a position reads those of the `lookback` positions before it.
struct State {
  int32_t layer = 0;
  std::string name;  // "conv", "recurrent": unique within the layer
  int64_t floats = 0, lookback = 1;
};

struct Value {
  Source source = Source::kNode;
  DType dtype = DType::kF32;
  Shape shape;           // a KV cache has an empty shape
  int32_t index = 0;  // kWeight: into Graph::weights; kKvCache, and what KvUpdate makes of one: into Graph::kv_caches; kState: into Graph::states
  std::string label;     // for people and probes: "layer0.attn_in"; may be empty
};

struct NoAttrs {
  bool operator==(const NoAttrs&) const = default;
};
struct EmbeddingAttrs {
  float scale = 1.0f;
  // Whose row is the table's first. A token of another rank's table gives -0, the identity of addition.
  int64_t first_id = 0;
  bool operator==(const EmbeddingAttrs&) const = default;
};
struct MatMulAttrs {
  Segments segments{};
  bool has_bias = false, has_residual = false;
  // How many of the segments the tree has, a power of two; borders past them are K. Fewer than all: a part of the sum, for an AllReduce.
  int64_t leaves = kNumSegments;
  bool operator==(const MatMulAttrs&) const = default;
};
struct NormAttrs {
  float eps = 0;
  int64_t width = 0;
  Segments segments{};   // of a width that ranks share: the sum of squares is the tree over them; all zero: one run
  [[nodiscard]] bool is_segmented() const { return segments.back() != 0; }
  bool operator==(const NormAttrs&) const = default;
};
enum class RopeStyle : uint8_t { kHalves, kInterleaved };
struct RopeAttrs {
  int64_t head_dim = 0, rotary_dim = 0;
  RopeStyle style = RopeStyle::kHalves;
  float eps = 0;  // NormRope only
  bool operator==(const RopeAttrs&) const = default;
};
// Row i of Rotary's frequencies is for sequences of first_length + i tokens, row 0 for all shorter ones too.
struct RotaryAttrs {
  int64_t first_length = 0;
  bool operator==(const RotaryAttrs&) const = default;
};
struct SliceAttrs {
  int64_t begin = 0, size = 0;
  bool operator==(const SliceAttrs&) const = default;
};
struct AttentionAttrs {
  int64_t heads = 0, kv_heads = 0, head_dim = 0, window = 0;
  float scale = 0;
  int64_t v_dim = 0;     // of a value head; 0: head_dim
  int64_t chunk = 0;     // keys from floor(query / chunk) * chunk on are visible; 0: no chunks
  float softcap = 0;     // scores become softcap * tanh(score / softcap); 0: none
  bool has_sinks = false;
  bool sees_both_ways = false;   // later keys too, as far as the window reaches; the sequence must be whole in one step
  [[nodiscard]] int64_t value_dim() const { return v_dim == 0 ? head_dim : v_dim; }
  [[nodiscard]] int64_t reach() const { return chunk == 0 ? window : chunk; }
  // Whether the query at one position sees the key at another.
  [[nodiscard]] bool IsVisible(int64_t query, int64_t key) const {
    if (sees_both_ways && key > query) return window == 0 || key - query < window;
    return key <= query && (window == 0 || query - key < window) && (chunk == 0 || key >= query / chunk * chunk);
  }
  bool operator==(const AttentionAttrs&) const = default;
};
struct ScalarAttrs {
  float value = 0;
  bool operator==(const ScalarAttrs&) const = default;
};
// How a router scores experts.
enum class RouterScoring : uint8_t {
  kSoftmax,         // over all experts, then the top k
  kSigmoid,         // of each expert by itself
  kSoftmaxOfTopK,   // the top k logits, then softmax over them
};
struct RouteAttrs {
  int64_t num_experts = 0, top_k = 0;
  RouterScoring scoring = RouterScoring::kSoftmax;
  bool normalise = false;                       // weights divided by their sum
  int64_t num_groups = 1, top_groups = 1;       // experts come from the top_groups best groups (by the sum of their two best)
  float scale = 1.0f;                           // of the weights, at the end
  bool operator==(const RouteAttrs&) const = default;
};
struct ExpertAttrs {
  int64_t num_experts = 0;                      // of all ranks, as offsets and ids are
  int64_t capacity = 0;                         // ExpertGroup: rows that an expert takes, in order; later ones lose it (position -1); 0: all
  Segments segments{};                          // ExpertMatMul only
  bool has_bias = false, has_weights = false;   // optional operands
  int64_t leaves = kNumSegments;                // ExpertMatMul: as MatMulAttrs'
  int64_t first_expert = 0, own_experts = -1;   // ExpertMatMul, ExpertIsolate: those that this rank has; -1: all
  int64_t first_group = 0, num_groups = kNumSegments;   // ExpertCombine: the canonical groups of experts that are added here
  // ExpertCombine: of R live rows only [R share / shares, R (share + 1) / shares) are made.
  int64_t share = 0, num_shares = 1;
  [[nodiscard]] int64_t end_expert() const { return own_experts < 0 ? num_experts : first_expert + own_experts; }
  bool operator==(const ExpertAttrs&) const = default;
};
struct HeadAttrs {
  int64_t heads = 0;
  Segments segments{};     // HeadMatMul: of one head's K
  bool is_shared = false;  // HeadConcat: b is one head that all share
  bool operator==(const HeadAttrs&) const = default;
};
// Which of a sequence's rows stand for it. The last one needs no op but GatherRows.
enum class PoolMode : uint8_t { kFirst, kMean };
struct PoolAttrs {
  PoolMode mode = PoolMode::kMean;
  bool operator==(const PoolAttrs&) const = default;
};
// Borders of the ranks' columns, ascending; past the last rank, all columns.
struct GatherAttrs {
  Segments borders{};
  bool operator==(const GatherAttrs&) const = default;
};
// Rank r has experts [experts[r], experts[r + 1]); past the last rank, all of them. Results have `cols` columns.
struct ExchangeAttrs {
  Segments experts{};
  int64_t cols = 0;
  bool operator==(const ExchangeAttrs&) const = default;
};
struct ZerosAttrs {
  int64_t rows = 0, cols = 0;   // rows: of the phase, or a multiple
  bool operator==(const ZerosAttrs&) const = default;
};
// What this rank adds to a sum of squares: columns may be left out on both sides, as other ranks count them. `leaves` as MatMulAttrs'.
struct SquareSumAttrs {
  Segments segments{};
  int64_t leaves = kNumSegments;
  bool operator==(const SquareSumAttrs&) const = default;
};
struct SampleAttrs {
  int64_t vocab = 0;   // of all ranks, where the logits are this rank's columns; 0: they are all there is
  bool operator==(const SampleAttrs&) const = default;
};
struct ClampAttrs {
  float alpha = 1.0f, limit = 0.0f;
  bool operator==(const ClampAttrs&) const = default;
};
struct ConvAttrs {
  bool has_bias = false;
  bool operator==(const ConvAttrs&) const = default;
};
// A matrix-valued state a value head, [key_dim, value_dim]: each key head (of Mamba-2: each group) serves value_heads / key_heads of them.
struct RecurrenceAttrs {
  int64_t key_heads = 0, value_heads = 0, key_dim = 0, value_dim = 0;
  float least_step = 0, most_step = std::numeric_limits<float>::infinity();  // SsmScan: bounds of a step's length
  [[nodiscard]] int64_t key_cols() const { return key_heads * key_dim; }
  [[nodiscard]] int64_t value_cols() const { return value_heads * value_dim; }
  // Of an entry of the state, as kernels lay it out: values in lanes of 16, keys by four.
  [[nodiscard]] int64_t state_floats() const { return value_heads * ((value_dim + 15) / 16) * ((key_dim + 3) / 4 * 4) * 16; }
  bool operator==(const RecurrenceAttrs&) const = default;
};
using Attrs = std::variant<NoAttrs, EmbeddingAttrs, MatMulAttrs, NormAttrs, RopeAttrs, SliceAttrs, AttentionAttrs, RouteAttrs, ExpertAttrs,
                           ClampAttrs, ScalarAttrs, HeadAttrs, RotaryAttrs, ConvAttrs, RecurrenceAttrs, PoolAttrs, GatherAttrs, ZerosAttrs,
                           SquareSumAttrs, SampleAttrs, ExchangeAttrs>;

struct Node {
  Op op = Op::kAdd;
  std::vector<ValueId> inputs, outputs;
  Attrs attrs;
  std::string scope;     // the layer that emitted it: "model.layers.0.self_attn"
};

// How ranks that share out experts bring the results to the rows that chose them: each adds its own and all ranks their sums, or results
// travel to the ranks whose share of rows they belong to. kAuto: whichever sends fewer bytes (layers/expert_dispatch.h).
enum class ExpertDispatch : uint8_t { kAuto, kReduce, kExchange };

struct Graph {
  Phase phase = Phase::kContextEncoding;
  int64_t rows = 0, outputs = 0, max_context = 0;
  RankPlace place;   // whose graph this is
  FormatPolicy formats;   // of the matrices that are declared; none: f32
  ExpertDispatch expert_dispatch = ExpertDispatch::kAuto;
  // Where rotary frequencies change with the length of a sequence: one of more than this many positions is rotated with the rows of
  // rope_rows, which the runtime fills: a short sequence's position, or rope_switch + a long one's. 0: they never change.
  int64_t rope_switch = 0;
  double capacity_factor = 0;   // experts take ceil(rows * top_k * capacity_factor / experts) rows; 0: all that choose them
  bool rope_follows_length = false;   // rope_rows are lengths: of its whole prompt for a prompt's row, up to and with itself for a later one
  std::vector<Value> values;
  std::vector<Weight> weights;       // unique by name
  std::vector<KvCache> kv_caches;    // one a layer
  std::vector<State> states;
  std::vector<Node> nodes;           // in execution order
  // What the graph is for: the next tokens of its output rows, or (an embedder) a vector f32 [outputs, C] of each sequence that ends in one.
  ValueId logits = kNoValue, ids = kNoValue, logprobs = kNoValue;
  ValueId embeddings = kNoValue;
  std::map<std::string, ValueId> probes;  // named intermediate values that parity tests read; kept alive only when asked

  [[nodiscard]] bool is_embedder() const { return embeddings != kNoValue; }
  [[nodiscard]] const Value& value(ValueId id) const { return values[static_cast<size_t>(id)]; }
};

[[nodiscard]] std::string_view Name(Op op);
// Each border at the next multiple of `unit_k`, but not beyond the last one, which stays.
[[nodiscard]] Segments AlignSegments(Segments segments, int64_t unit_k);

}  // namespace intaglio::graph
