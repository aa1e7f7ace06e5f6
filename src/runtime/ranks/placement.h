// Which CPUs the ranks of a bundle compute on. Ranks are spread over NUMA nodes in the order in which the machine has them, so that ranks
// 2i and 2i + 1, which meet first in every sum, are near each other. A pure function of the topology and of what was asked for.
//
// Memory follows threads: a leader binds itself before it builds its rank's device, so KV cache, arena and scratch memory are first touched
// (pages.h) by a thread on the rank's own node, and the system puts them there.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "intaglio/engine.h"
#include "runtime/ranks/topology.h"

namespace intaglio::runtime {

enum class Binding : uint8_t {
  kNone,   // threads run anywhere
  kCore,   // every thread has a core of its own
  kNuma,   // a rank's threads float over the cores of its node
};
[[nodiscard]] std::string_view Name(Binding binding);

struct PlacementOptions {
  int threads = 0;            // of all ranks together, shared out evenly, rounded down; 0: one for each usable CPU
  int threads_per_rank = 0;   // 0: as `threads` has it
  std::optional<Binding> binding{};   // none: kCore where every thread can have a core of its own, else kNone
};
// Throws Error kInvalidArgument for a binding that is none.
[[nodiscard]] PlacementOptions PlacementOptionsOf(const EngineOptions& options);
// The same for so many ranks, with `threads` divided. Throws Error kInvalidArgument for counts that contradict each other, are fewer than ranks
// or negative.
[[nodiscard]] PlacementOptions OfEachRank(const PlacementOptions& options, int num_ranks);

struct RankCpus {
  std::vector<int> cpus{};    // that the rank's threads may use; empty: those of the thread that starts them
  int num_threads = 1;        // 0: one for each usable CPU
  ThreadPool::Workers workers = ThreadPool::Workers::kPinned;
};

// One a rank. Where ranks are at least as many as nodes with usable CPUs, each is on one node, and no rank could have more CPUs without one
// that has fewer having less. Else each has as many whole neighbouring nodes as can be shared out, and its threads fill them one by one. Throws
// Error kInvalidArgument: thread counts that contradict each other or are fewer than ranks, kCore where cores do not suffice.
[[nodiscard]] std::vector<RankCpus> PlaceRanks(const Topology& topology, int num_ranks, const PlacementOptions& options);

// A bundle of one rank, on the thread that calls the engine. Looks at the machine only where a binding to cores or a node is asked for.
// Throws as PlaceRanks.
[[nodiscard]] RankCpus PlaceSingleRank(const PlacementOptions& options);

// How many ranks suit the machine: one a NUMA node with usable CPUs, rounded down to a power of two, at most 8.
[[nodiscard]] int SuggestedRanks(const Topology& topology);

// A process's place among the processes that its launcher has started on this host.
struct LocalRank {
  int rank = 0, size = 1;
};
// As Open MPI, MPICH and Intel MPI say in the environment; alone where none of them does.
[[nodiscard]] LocalRank LocalRankFromEnvironment();

// The place of a process that is one rank. A binding that the launcher made is kept: the process then has the cores that are left to it, or its
// part where they are so many that other processes must have the same ones. Without, processes of this host share it out as PlaceRanks does.
// Throws as PlaceRanks. REQUIRES: options of each rank (OfEachRank), as ranks may be on other hosts as well
[[nodiscard]] RankCpus PlaceProcess(const Topology& topology, const LocalRank& local, const PlacementOptions& options);

// Lets the calling thread, and threads that it starts, run on these CPUs alone. Where the system forbids it, they run anywhere.
void BindThisThread(const RankCpus& place) noexcept;

}  // namespace intaglio::runtime
