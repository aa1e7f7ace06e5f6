#include "runtime/placement.h"

#include <sched.h>

#include <algorithm>

#include "base/cpus.h"

namespace intaglio::runtime {

std::vector<RankCpus> PlaceRanks(int num_ranks, int threads_per_rank) {
  const std::vector<int> cpus = UsableCpus();
  const auto ranks = static_cast<size_t>(num_ranks);
  std::vector<RankCpus> places(ranks);
  for (size_t r = 0; r < ranks; ++r) {
    const auto begin = static_cast<ptrdiff_t>(cpus.size() * r / ranks), end = static_cast<ptrdiff_t>(cpus.size() * (r + 1) / ranks);
    if (cpus.size() >= ranks) places[r].cpus.assign(cpus.begin() + begin, cpus.begin() + end);
    places[r].num_threads = threads_per_rank > 0 ? threads_per_rank : std::max(1, static_cast<int>(end - begin));
  }
  return places;
}

void BindThisThread(const RankCpus& place) noexcept {
  if (place.cpus.empty()) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int cpu : place.cpus) CPU_SET(static_cast<size_t>(cpu), &set);
  sched_setaffinity(0, sizeof set, &set);
}

}  // namespace intaglio::runtime
