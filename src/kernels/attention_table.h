// Which flash kernel serves which kind of attention: one table. The lowering asks it (a layer outside of it is an error at export),
// `intaglio inspect --attention` prints it, tests run every row at every level.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "kernels/kernel.h"

namespace intaglio::kernels {

// What a layer's attention asks for.
struct AttentionShape {
  int64_t heads = 0, kv_heads = 0, head_dim = 0, v_dim = 0;
  int64_t window = 0, chunk = 0;   // 0: none
  float softcap = 0;               // 0: none
  bool has_sinks = false;
  bool sees_both_ways = false;     // later keys of its sequence, too
};

// Values as wide as keys, or the latent of compressed keys: one key/value head whose values are narrower than its keys.
enum class ValueKind : uint8_t { kAsKeys, kLatent };
enum class Reach : uint8_t { kFull, kFullOrWindow, kChunk, kBothWays };
// How scores become weights.
enum class Scores : uint8_t { kPlain, kSoftcap, kSinks };

struct AttentionRow {
  std::string_view name, kernel;   // `kernel` as in kernels.inc
  int64_t max_head_dim;
  ValueKind values;
  Reach reach;
  Scores scores;
  std::string_view used_by;
};

[[nodiscard]] std::span<const AttentionRow> AttentionTable();
// The row that serves `shape`; null if none does.
[[nodiscard]] const AttentionRow* FindAttentionRow(const AttentionShape& shape);
// What an attention call computes.   REQUIRES: `call` is resolved, or its params and the presence of its operands are set
[[nodiscard]] AttentionShape ShapeOfAttention(const Params& params, bool has_sinks);

// "8 query heads on 2 of 64, window 512".
[[nodiscard]] std::string ToString(const AttentionShape& shape);
// The table for people, one line a row.
[[nodiscard]] std::string PrintAttentionTable();

}  // namespace intaglio::kernels
