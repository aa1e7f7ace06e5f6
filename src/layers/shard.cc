#include "layers/shard.h"

#include <algorithm>
#include <numeric>

#include "base/assert.h"
#include "base/fail.h"

namespace intaglio::layers {
namespace {

constexpr int64_t kRanks = graph::kNumSegments;
constexpr int64_t kUnit = 16;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The first query head of `rank`; rank 8 is the end.
int64_t FirstHead(int64_t rank, int64_t heads, int64_t kv_heads) {
  if (GqaStrategyFor(kv_heads) == GqaStrategy::kConvertToMha) return std::min(heads, rank * CeilDiv(heads, kRanks));
  if (kv_heads >= kRanks) return rank * (heads / kRanks);
  const int64_t ranks_per_kv_head = kRanks / kv_heads, group = heads / kv_heads;
  const int64_t within = rank % ranks_per_kv_head * CeilDiv(group, ranks_per_kv_head);
  return rank / ranks_per_kv_head * group + std::min(group, within);
}

}  // namespace

graph::Segments PlainSegments(int64_t k) {
  graph::Segments segments{};
  const int64_t units = CeilDiv(k, kUnit);
  for (int64_t s = 0; s <= kRanks; ++s) segments[static_cast<size_t>(s)] = std::min(k, units * s / kRanks * kUnit);
  return segments;
}

GqaStrategy GqaStrategyFor(int64_t kv_heads) {
  return kRanks % kv_heads == 0 || kv_heads % kRanks == 0 ? GqaStrategy::kReplicateToTpDegree : GqaStrategy::kConvertToMha;
}

graph::Segments HeadSegments(int64_t heads, int64_t kv_heads, int64_t head_dim) {
  Assert(kv_heads > 0 && heads % kv_heads == 0);
  graph::Segments segments{};
  for (int64_t s = 0; s <= kRanks; ++s) segments[static_cast<size_t>(s)] = FirstHead(s, heads, kv_heads) * head_dim;
  return segments;
}

graph::Segments KvHeadSegments(int64_t heads, int64_t kv_heads, int64_t head_dim) {
  Assert(kv_heads > 0 && heads % kv_heads == 0);
  graph::Segments segments{};
  for (int64_t s = 0; s <= kRanks; ++s) segments[static_cast<size_t>(s)] = CeilDiv(FirstHead(s, heads, kv_heads), heads / kv_heads) * head_dim;
  return segments;
}

std::vector<Range> Joined(std::span<const Range> ranges) {
  std::vector<Range> joined;
  for (const Range& range : ranges) {
    if (range.is_empty()) continue;
    if (!joined.empty() && joined.back().end == range.begin) {
      joined.back().end = range.end;
    } else {
      joined.push_back(range);
    }
  }
  return joined;
}

Range Own(const graph::Segments& whole, const graph::RankPlace& place) {
  return {whole[static_cast<size_t>(place.first_segment())], whole[static_cast<size_t>(place.end_segment())]};
}

OwnSum SumOf(const graph::Segments& whole, const graph::RankPlace& place) {
  const Range own = Own(whole, place);
  const auto first = static_cast<size_t>(place.first_segment()), end = static_cast<size_t>(place.end_segment());
  OwnSum sum{.segments = {}, .leaves = place.num_leaves()};
  sum.segments.fill(own.size());
  for (size_t s = first; s < end; ++s) sum.segments[s - first] = whole[s] - own.begin;
  return sum;
}

std::vector<Range> OwnHeads::QueryRows(int64_t rows_of_head, int64_t first_row) const {
  if (query.is_empty()) return {};
  return {{first_row + query.begin * rows_of_head, first_row + query.end * rows_of_head}};
}

std::vector<Range> OwnHeads::KvRows(int64_t rows_of_head, int64_t first_row) const {
  std::vector<Range> rows;
  for (int64_t head : kv) rows.push_back({first_row + head * rows_of_head, first_row + (head + 1) * rows_of_head});
  return Joined(rows);
}

OwnHeads HeadsOf(int64_t heads, int64_t kv_heads, const graph::RankPlace& place) {
  const int64_t group = heads / kv_heads;
  OwnHeads own{.query = Own(HeadSegments(heads, kv_heads, /*head_dim=*/1), place), .kv = {}};
  std::vector<int64_t> of_query;   // the KV head of each
  for (int64_t head = own.query.begin; head < own.query.end; ++head) of_query.push_back(head / group);
  own.kv = of_query;
  own.kv.erase(std::ranges::unique(own.kv).begin(), own.kv.end());
  const auto num_served = [&](int64_t kv_head) { return std::ranges::count(of_query, kv_head); };
  const bool is_plain = std::ranges::all_of(own.kv, [&](int64_t kv_head) { return num_served(kv_head) == num_served(own.kv.front()); });
  if (!is_plain) own.kv = of_query;
  return own;
}

Range OwnExperts(int64_t experts, const graph::RankPlace& place) {
  const int64_t first = place.first_expert_group(), end = first + place.num_expert_groups();
  return {experts * first / kRanks, experts * end / kRanks};
}

int DefaultEpDegree(int tp_degree) { return std::gcd(tp_degree, graph::kNumSegments); }

void CheckDegrees(int tp_degree, int ep_degree) {
  Require(tp_degree >= 1 && tp_degree <= graph::kNumSegments, ErrorCode::kInvalidArgument, "a tensor-parallel degree of ", tp_degree,
          " with an expert-parallel degree of ", ep_degree, ": sums have ", graph::kNumSegments, " segments, so there can be 1 to ",
          graph::kNumSegments, " ranks");
  Require(ep_degree >= 1 && tp_degree % ep_degree == 0 && graph::kNumSegments % ep_degree == 0, ErrorCode::kInvalidArgument,
          "an expert-parallel degree of ", ep_degree, " with a tensor-parallel degree of ", tp_degree, ": it has to divide that, and ",
          graph::kNumSegments, "; ", DefaultEpDegree(tp_degree), " does");
}

}  // namespace intaglio::layers
