// Where a sum over K is cut. A rank of TP 2, 4 or 8 owns whole segments, so its all-reduce (the tree over segments) ends in the same
// bits as one rank's matmul: segment s is what rank s owns at TP 8, whatever the TP degree. Segments may be empty.
#pragma once
#include <cstdint>

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

}  // namespace intaglio::layers
