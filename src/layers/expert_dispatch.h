// How the results of experts that ranks share out get back to the rows that chose them. All ranks have all rows of a step, so no row has to
// travel to its experts: each rank gathers those of its own. Results travel, in one of two ways that end in the same bits:
//   reduce     every rank adds its own experts' results of every row; the sums are all-reduced
//   exchange   results go to the rank whose share of rows they belong to; it adds them, and all ranks gather the finished rows
// Decided once a graph, at export. Pure functions, safe from any thread.
#pragma once
#include <cstdint>

#include "graph/graph.h"

namespace intaglio::layers {

// What a step of so many rows sends, of which each chose top_k experts.
struct ExpertTraffic {
  int64_t rows = 0, top_k = 0, hidden_size = 0;
};
// Bytes that a rank receives less by an exchange: an all-reduce of R x H floats takes 2 R H (N - 1) / N of them to it, an exchange brings
// R k H / N (N - 1) / N and the gather of rows R H (N - 1) / N. Negative where more experts are chosen than there are ranks.
[[nodiscard]] int64_t BytesSavedByExchange(const ExpertTraffic& traffic, int num_ranks);

// What travels while ranks meet once more: an exchange has two collectives, a reduction one. Of the order of 10 us at 6 GB/s.
inline constexpr int64_t kMeetingBytes = 64 << 10;

// Whether an exchange is possible, which takes whole experts on several ranks, and asked for or, by kAuto, the cheaper way.
[[nodiscard]] bool UsesExchange(graph::ExpertDispatch dispatch, const ExpertTraffic& traffic, const graph::RankPlace& place);

}  // namespace intaglio::layers
