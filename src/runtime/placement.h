// Which CPUs the ranks of one process compute on.
#pragma once
#include <vector>

namespace intaglio::runtime {

struct RankCpus {
  std::vector<int> cpus;   // that the rank's threads may use; empty: any
  int num_threads = 1;
};

// `threads_per_rank` 0: the CPUs that the process may use, shared out evenly, neighbours together; ranks beyond their number share CPUs,
// and are not bound.
[[nodiscard]] std::vector<RankCpus> PlaceRanks(int num_ranks, int threads_per_rank);
// Lets the calling thread, and threads that it starts, run on these CPUs alone. Where the system forbids it, they run anywhere.
void BindThisThread(const RankCpus& place) noexcept;

}  // namespace intaglio::runtime
