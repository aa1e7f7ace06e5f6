// Sampling where ranks share the vocabulary: several kernels with collectives among them (kernels/sample_ranks.h) instead of one.
#pragma once
#include <cstdint>
#include <vector>

#include "bundle/plan.h"
#include "graph/rank_place.h"

namespace intaglio::compiler {

// `sample`: the call of one rank, with the operands ids, logits (of the rank's columns), workspace and log-probabilities.
[[nodiscard]] std::vector<bundle::Call> ShareSample(const bundle::Call& sample, const graph::RankPlace& place, int64_t vocab);

}  // namespace intaglio::compiler
