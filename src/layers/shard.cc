#include "layers/shard.h"

#include <algorithm>

#include "base/assert.h"

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

}  // namespace intaglio::layers
