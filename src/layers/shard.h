// Where a sum over K is cut, and what a rank has of everything that ranks share. A rank of TP 2, 4 or 8 owns whole segments, so its
// all-reduce (the tree over segments) ends in the same bits as one rank's matmul: segment s is what rank s owns at TP 8, whatever the TP
// degree. Segments may be empty.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "graph/graph.h"

namespace intaglio::layers {

// K in units of 16 (a lane block, half a quantisation group), shared out evenly: border s is at floor(units * s / 8) units.
[[nodiscard]] graph::Segments PlainSegments(int64_t k);

// How query and KV heads are placed on ranks, after Optimum Neuron's gqa.py.
enum class GqaStrategy : uint8_t {
  kReplicateToTpDegree,  // each KV head goes to 8 / kv_heads ranks, which share its query group evenly, padded at the group's end
  kConvertToMha,         // every query head gets its own copy of its KV head; heads are padded at the end to a multiple of 8
};
[[nodiscard]] GqaStrategy GqaStrategyFor(int64_t kv_heads);

// o_proj's K, heads * head_dim: whole query heads, as the strategy places them on eight ranks. REQUIRES: heads % kv_heads == 0
[[nodiscard]] graph::Segments HeadSegments(int64_t heads, int64_t kv_heads, int64_t head_dim);

// The same for the KV heads, one copy of each: it is with the first of the ranks that its query heads are on.
[[nodiscard]] graph::Segments KvHeadSegments(int64_t heads, int64_t kv_heads, int64_t head_dim);

// Rows, columns, heads or experts from `begin` up to `end`, which may be the same.
struct Range {
  int64_t begin = 0, end = 0;
  [[nodiscard]] int64_t size() const { return end - begin; }
  [[nodiscard]] bool is_empty() const { return begin == end; }
  bool operator==(const Range&) const = default;
};
// The same ranges in the same order, those joined that continue the one before them; empty ones are left out.
[[nodiscard]] std::vector<Range> Joined(std::span<const Range> ranges);

// What a rank has of whatever `whole` shares out: its segments, which are neighbours.
[[nodiscard]] Range Own(const graph::Segments& whole, const graph::RankPlace& place);
// A rank's part of a sum over K: its own segments, counted from its first column on, for a tree of `leaves`.
struct OwnSum {
  graph::Segments segments;
  int64_t leaves = graph::kNumSegments;
};
[[nodiscard]] OwnSum SumOf(const graph::Segments& whole, const graph::RankPlace& place);

// A rank's query heads, and the KV heads they read (in recurrent layers: value heads, and key heads).
struct OwnHeads {
  Range query;
  std::vector<int64_t> kv;   // ascending; each serves query.size() / kv.size() neighbours of `query`
  // The rows of those heads in a tensor that has `rows_of_head` a head, from `first_row` on.
  [[nodiscard]] std::vector<Range> QueryRows(int64_t rows_of_head, int64_t first_row = 0) const;
  [[nodiscard]] std::vector<Range> KvRows(int64_t rows_of_head, int64_t first_row = 0) const;
};
// KV heads are a range where each of them serves equally many of the rank's query heads (plain GQA); else every query head has its own copy
// of one. REQUIRES: heads % kv_heads == 0
[[nodiscard]] OwnHeads HeadsOf(int64_t heads, int64_t kv_heads, const graph::RankPlace& place);

// Those of so many experts that a rank has: whole canonical groups, of which group g begins at expert floor(experts * g / 8). Maybe none.
[[nodiscard]] Range OwnExperts(int64_t experts, const graph::RankPlace& place);

// The EP degree of so many ranks unless somebody chooses one: their largest divisor that divides 8.   REQUIRES: tp_degree >= 1
[[nodiscard]] int DefaultEpDegree(int tp_degree);
// Throws Error kInvalidArgument unless tp_degree is 1 to 8 and ep_degree divides it and 8.
void CheckDegrees(int tp_degree, int ep_degree);

}  // namespace intaglio::layers
