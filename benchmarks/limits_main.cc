// The limits of this machine: read bandwidth by number of streams, and the peaks of multiply-add instructions.   limits [threads]
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "base/limits.h"

namespace intaglio::benchmarks {
namespace {

constexpr int kRounds = 20;

template <typename Measure>
double Best(Measure measure) {
  double best = measure();
  for (int round = 1; round < kRounds; ++round) best = std::min(best, measure());
  return best;
}

void Report(ThreadPool& pool, const ColdMemory& memory) {
  for (int streams : {1, 2, 4, 8}) {
    const double seconds = Best([&] { return ReadSeconds(pool, memory.bytes(), streams); });
    std::printf("read, %d streams a thread           threads=%d %8.1f GB/s\n", streams, pool.num_threads(),
                1e-9 * static_cast<double>(memory.bytes().size()) / seconds);
  }
  for (const Peak& peak : Peaks()) {
    if (!peak.is_supported()) continue;
    const double seconds = Best([&] { return PeakSeconds(pool, peak); });
    std::printf("%-34s threads=%d %8.0f G/s\n", peak.name.data(), pool.num_threads(), 1e-9 * peak.operations * pool.num_threads() / seconds);
  }
}

}  // namespace
}  // namespace intaglio::benchmarks

int main(int argc, char** argv) {
  using namespace intaglio;
  const ColdMemory memory(size_t{512} << 20);
  ThreadPool one(1), all(argc > 1 ? std::atoi(argv[1]) : 0);
  benchmarks::Report(one, memory);
  if (all.num_threads() > 1) benchmarks::Report(all, memory);
}
