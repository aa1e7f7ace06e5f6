// What the operands and parameters of each kernel mean: shared by the lowering that writes them and the kernels that read them.
// Operands are listed in order; [..] marks optional ones (absent: no data). W is a workspace in the arena, sized by workspace.h.
// Stored in bundles: append, never renumber.
#pragma once
#include <cstdint>

namespace intaglio::kernels {

// Which live count of the step a call's rows follow.
enum class Domain : int64_t { kRows = 0, kOutputs = 1 };
inline constexpr int kDomain = 15;  // index into Params::ints, in every kernel
// Rows of the call for each live row of the step (0 means 1): in a mixture of experts every row goes to several.
inline constexpr int kRowMultiple = 14;
// Of matmul, expert_matmul and square_sum: how many of the eight segments count, 1, 2, 4 or 8 (0 means 8). The others are empty and past them,
// and the sum is the tree over these leaves alone: a rank's own subtree.
inline constexpr int kLeaves = 13;

// embed_{f32,bf16}: out, table (packed like a matmul weight, rows = ids from the first on)     out[r] = table[tokens[r] - first] * scale
//   A token that the table does not have gives a row of -0.0, the identity of addition: ranks add what each has of the vocabulary.
namespace embed_params {
enum Int { kFirstId = 0 };
enum Float { kScale = 0 };
}  // namespace embed_params

// matmul_{f32,bf16}: out, x, weight (packed N x K), [bias f32 1 x N], [residual], W    out = residual + (x W^T + bias)
// ints[0..8]: borders of the K segments, ascending, first 0, last K. out may alias residual exactly.
namespace matmul_params {
enum Int { kBorders = 0 };
}

// rms_norm: out, x, weight f32 1 x width. Each run of `width` columns of a row is normalised on its own. out may alias x.
// ints[1..9]: borders of the segments of a width that ranks share, each summed by itself, then by the tree; all zero: one sum.
namespace norm_params {
enum Int { kWidth = 0, kBorders = 1 };
enum Float { kEps = 0 };
}  // namespace norm_params
// A segmented rms_norm in two halves, between which ranks add their sums:
// square_sum: out [R, 1], x [R, C]                                                     the sum of squares of each segment, then the tree
//   norm_params::kBorders: of the segments, ascending within C; columns before the first and after the last border do not count
// norm_by: out, x [R, C], sums [R, 1], weight 1 x C                                    x / sqrt(sums / width + eps) * weight; out may alias x
//   norm_params::kWidth: columns of all ranks together; kEps

// rope: out, x, table. Rotates the first rotary_dim columns of every head. out may alias x.
// norm_rope: out, x, table, norm weight (1 x head_dim): RMS norm per head, then rope.
// table: f32 [max_position, rotary_dim]: per position rotary_dim/2 cosines, then rotary_dim/2 sines.
namespace rope_params {
enum Int {
  kHeadDim = 0,
  kRotaryDim = 1,
  kStyle = 2 /* 0: halves, 1: interleaved pairs */,
  kHasRows = 3 /* 0: table rows are positions, 1: the step's rope_rows, 2: the rows themselves */
};
enum Float { kEps = 0 };
}  // namespace rope_params

// rotary: out [rows, rotary_dim], frequencies [lengths, rotary_dim / 2]. A row of rope table for every row of the step: its position times
//   the frequencies of its rope_rows, which are lengths here.
namespace rotary_params {
enum Int { kFirstLength = 0 /* of the first row of frequencies */ };
}

// kv_write: cache, k, v                                                                stores rows into their slots' blocks
// attention: out, q, cache, W, [sinks f32 1 x heads]                                   softmax(q k^T * scale) v
//   A key is visible from its own position on, for `window` positions, within its chunk of `chunk` positions (0: no such limit).
//   softcap c != 0: scores become c * tanh(score / c). A head's sink is one more logit in its softmax, with no value.
namespace attention_params {
enum Int {
  kHeads = 0,
  kKvHeads = 1,
  kHeadDim = 2,
  kWindow = 3,
  kGroup = 4 /* block table */,
  kNumBlocks = 5 /* blocks in the pool */,
  kVDim = 6 /* columns of a value head; 0: kHeadDim */,
  kChunk = 7,
  kBothWays = 8 /* 1: rows also see the keys after them, up to the slot's length after the step; their sequence must be whole in it */
};
enum Float { kScale = 0, kSoftcap = 1 };
}  // namespace attention_params

// Mixture of experts. k experts a row; "expert order" lists all (row, choice) pairs expert by expert, rows ascending within.
// route: ids i32 [rows, k] ascending, weights f32 [rows, k], logits [rows, E], [correction bias 1 x E]
namespace route_params {
enum Int { kScoring = 0 /* softmax, sigmoid, softmax of the top k */, kNormalise = 1, kNumGroups = 2, kTopGroups = 3 };
enum Float { kScale = 0 };
inline constexpr int64_t kMaxExperts = 1024, kMaxTopK = 64;
}  // namespace route_params
// expert_group: positions i32 [rows, k], offsets i32 [1, E + 1], ids                    where each choice stands in expert order; -1: its
//   expert was full, and the choice counts for nothing
// expert_gather: out [rows * k, C], x [rows, C], positions, [weights]                   out[positions[r][j]] = x[r] (* weights[r][j])
// expert_matmul_{f32,bf16}: out [rows * k, N], x [rows * k, K], weight (E packed matrices, each from a block of its own on), offsets,
//   [bias f32 E x N], W                                                                 a matmul over each expert's own rows
//   E of them from kFirstExpert on; the offsets are of all experts. Rows of other experts are left alone.
// expert_combine: out [rows, C], y [rows * k, C], positions, ids, [weights]             sum over a row's choices: chains of fused multiply-adds
//   by ascending expert within 8 groups of experts (borders E * g / 8), groups by the fixed tree
//   With kNumGroups: of the choices in groups [kFirstGroup, kFirstGroup + kNumGroups) alone, by the tree over those.
//   With kNumShares: of R live rows only [R kShare / kNumShares, R (kShare + 1) / kNumShares); the others are left alone.
// expert_isolate: out [rows * k, C], y, offsets i32 [1, all + 1]                        y, with -0.0 in the rows of experts outside
//   [kFirstExpert, kFirstExpert + kNumExperts). out may alias y.
// expert_bias: out [rows * k, C], y, offsets i32 [1, E + 1], bias f32 E x C              y + the bias of each row's expert. out may alias y.
namespace expert_params {
enum Int {
  kBorders = 0 /* as matmul_params */,
  kShare = 0 /* of expert_combine */,
  kNumShares = 1 /* of expert_combine; 0 means 1 */,
  kNumExperts = 9,
  kCapacity = 10 /* of an expert, 0: no end */,
  kFirstExpert = 11 /* of expert_matmul and expert_isolate */,
  kFirstGroup = 11 /* of expert_combine */,
  kNumGroups = 12 /* 1, 2, 4 or 8; 0 means 8 */
};
}
// head_matmul_{f32,bf16}: out [rows, heads * N], x [rows, heads * K], weight (one packed matrix a head, as experts), W      a matmul for each head
// head_concat: out, a [rows, heads * A], b [rows, heads * B] or [rows, B]: A columns of a, then B of b, for every head
namespace head_params {
enum Int { kBorders = 0 /* as matmul_params, of one head */, kHeads = 9 };
}
// gated_clamped: out, gate_up; alpha, limit
namespace clamp_params {
enum Float { kAlpha = 0, kLimit = 1 };
}

// add: out, a, b.  mul: out, a, b.  silu, gelu_tanh: out, x.
// add_bias: out, x, bias 1 x cols: x + bias, out may alias x.  zeros: out: +0.0
// scale_by_position: out, x, table f32 [max_position, 1]: x times its position's entry
// scale: out, x: x * value.  softcap: out, x: value * tanh(x / value). out may alias x.
namespace scalar_params {
enum Float { kValue = 0 };
}
// scale_columns: out, x, vector 1 x cols. sigmoid_gate: out, x, gate (as wide as x, or one column)   x * sigmoid(gate). out may alias x.

// Kernels with a recurrent state take it as operand 1: a slot's entries lie one after the other, position p in entry p % entries. The row at
// position p reads the entries of the positions before it and leaves its own; the first position of a sequence reads zeros.
namespace state_params {
enum Int { kEntries = 13 };
}
// causal_conv: out, state, x, weight f32 taps x cols, [bias 1 x cols]                  out = silu(sum over the row and taps - 1 positions before it)
// gated_delta_rule: out, state, qkv (queries, keys, values), gates (beta and alpha of every value head), A_log, dt_bias
//   S = exp(-exp(A_log) softplus(alpha + dt_bias)) S; S += k sigmoid(beta) (v - k S); out = q S / sqrt(key_dim); q and k of unit length
// ssm_scan: out, state, xbc (values, B, C), dt, A_log, dt_bias, D
//   d = clamp(softplus(dt + dt_bias)); S = exp(-exp(A_log) d) S + B d x; out = C S + D x
// An entry of the last two: [value head][value_dim / 16][key_dim][16], so that 16 columns of a head's state lie together; key_dim is padded
// to a multiple of 4.
namespace recurrence_params {
enum Int { kKeyHeads = 0, kValueHeads = 1, kKeyDim = 2, kValueDim = 3 };
enum Float { kLeastStep = 0, kMostStep = 1 /* of d */ };
}  // namespace recurrence_params
namespace recurrence_limits {
inline constexpr int64_t kMaxTaps = 16, kMaxDim = 4096;
}

// gelu, tanh: out, x. gelu is x / 2 * (1 + erf(x / sqrt(2))).
// layer_norm: out, x, weight f32 1 x C, bias f32 1 x C                                (x - mean) / sqrt(variance + eps) * weight + bias
//   out may alias x
namespace layer_norm_params {
enum Float { kEps = 0 };
}
// unit_norm: out, x                                                                   x / max(|x|, 1e-12); out may alias x
// add_position: out, x, table f32 [max_position, C], constant f32 1 x C               (x + constant) + table[positions[r]]; out may alias x
// pool: out [outputs, C], x [rows, C]                                                 of the sequence that ends at output_rows[i] and began in
//   this step: its first row, or the mean of all, summed by ascending position
namespace pool_params {
enum Int { kMode = 0 /* 0: first, 1: mean */ };
}
// gated_silu, gated_gelu_tanh: out, gate_up                                            out = act(gate_up[:, :n]) * gate_up[:, n:]
// gather_rows: out, x                                                                  out[i] = x[output_rows[i]]
// sample: ids i32 [outputs, 1], logits, W, [logprobs f32: per output 1 + 2 * kMaxLogprobs numbers: log-probability of the chosen id,
//   then the top ids (as i32 bits) and their log-probabilities, most likely first]
// Where ranks share the vocabulary (sample_ranks.h has the order, and what the collectives among them do):
// sample_local, sample_draw, sample_pick: logits [outputs, columns of the rank's segments], W
// sample_decide: ids i32 [outputs, 1], W, [logprobs, as above]
// sample_gather_results, sample_gather_candidates: W. Collectives, not kernels.
namespace sample_params {
enum Int {   // of these, not of sample
  kVocab = 0 /* columns of all ranks */,
  kFirstSegment = 1 /* of the rank's canonical segments, whose columns are SegmentBorder's */,
  kNumSegments = 2,
  kOutputs = 3 /* rows of ids */,
  kHasLogprobs = 4 /* 1: sample_decide has log-probabilities */,
  kRound = 5 /* of sample_gather_results: 0 after sample_local, 1 after sample_draw */
};
inline constexpr int kMaxLogprobs = 20;
inline constexpr int kLogprobCols = 1 + 2 * kMaxLogprobs;
}  // namespace sample_params

// Calls that all ranks make together, and that the runtime runs (runtime/ranks/collective_calls.h):
// all_reduce: x                                                                       x becomes the sum over all ranks, in place
// all_gather: out [rows, C], x [rows, the rank's columns], W (rows * C)               the columns of all ranks side by side
namespace gather_params {
enum Int { kBorders = 0 /* ints[0..8]: of rank r's columns, [kBorders + r, kBorders + r + 1) */ };
}
// Of R live rows, those from R r / N up to R (r + 1) / N, rounded down, are the share of rank r of N.
// expert_exchange: y [rows * k, C], positions, offsets i32 [1, E + 1], W (rows * k * C)   y has in expert order what the rank's own experts made;
//   each rank receives, in its own y, what others made of its own share of rows. All other rows of y are undefined afterwards.
// row_gather: x [rows, C]                                                             every rank's share of the rows, to all ranks, in place
namespace exchange_params {
enum Int { kBorders = 0 /* ints[0..8]: of rank r's experts, as gather_params */ };
}

}  // namespace intaglio::kernels
