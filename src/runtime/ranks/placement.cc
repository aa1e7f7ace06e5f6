#include "runtime/ranks/placement.h"

#include <sched.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <iterator>

#include "base/fail.h"

namespace intaglio::runtime {
namespace {

using Workers = ThreadPool::Workers;

constexpr std::array<std::string_view, 3> kBindings = {"none", "core", "numa"};

// Whole neighbouring nodes, and the ranks that share them.
struct Group {
  std::vector<int> cpus;      // usable ones, node by node
  std::vector<size_t> ends;   // in `cpus`, of each node
  size_t num_ranks = 0;

  [[nodiscard]] size_t ShareBegin(size_t rank) const { return cpus.size() * rank / num_ranks; }
  [[nodiscard]] size_t ShareSize(size_t rank) const { return ShareBegin(rank + 1) - ShareBegin(rank); }
  [[nodiscard]] std::vector<int> Cpus(size_t begin, size_t end) const {
    return {cpus.begin() + static_cast<ptrdiff_t>(begin), cpus.begin() + static_cast<ptrdiff_t>(end)};
  }
  // From the node in which the rank's share begins, as many nodes as its threads need.
  [[nodiscard]] std::vector<int> NodesOf(size_t rank, size_t num_threads) const {
    size_t begin = 0;
    for (size_t end : ends) {
      if (end > ShareBegin(rank) && (end - begin >= num_threads || end == ends.back())) return Cpus(begin, end);
      if (end <= ShareBegin(rank)) begin = end;
    }
    return cpus;
  }
};

// The next rank always goes where most CPUs are left to each: that is D'Hondt's method, which makes the smallest share as large as it can be.
std::vector<Group> MakeGroups(const Topology& topology, size_t num_ranks) {
  std::vector<const NumaNode*> nodes;
  for (const NumaNode& node : topology.nodes) {
    if (!node.usable_cpus.empty()) nodes.push_back(&node);
  }
  std::vector<Group> groups(std::min(nodes.size(), num_ranks));
  for (size_t g = 0; g < groups.size(); ++g) {
    for (size_t n = nodes.size() * g / groups.size(); n < nodes.size() * (g + 1) / groups.size(); ++n) {
      std::ranges::copy(nodes[n]->usable_cpus, std::back_inserter(groups[g].cpus));
      groups[g].ends.push_back(groups[g].cpus.size());
    }
  }
  for (size_t r = 0; r < num_ranks; ++r) {
    const auto has_less = [](const Group& a, const Group& b) { return a.cpus.size() * (b.num_ranks + 1) < b.cpus.size() * (a.num_ranks + 1); };
    ++std::ranges::max_element(groups, has_less)->num_ranks;
  }
  return groups;
}

void CheckThreads(const PlacementOptions& options, int num_ranks) {
  Require(options.threads >= 0 && options.threads_per_rank >= 0, ErrorCode::kInvalidArgument, "cannot compute with ", options.threads, " threads, ",
          options.threads_per_rank, " a rank; use 1 or more, or 0 for one per core");
  if (options.threads == 0) return;
  Require(options.threads >= num_ranks, ErrorCode::kInvalidArgument, options.threads, options.threads == 1 ? " thread is" : " threads are",
          " too few for the ", num_ranks, " ranks of the bundle; use ", num_ranks, " or more");
  const int64_t of_all = int64_t{options.threads_per_rank} * num_ranks;
  Require(of_all == 0 || of_all == options.threads, ErrorCode::kInvalidArgument, options.threads, " threads in all contradict ",
          options.threads_per_rank, " for each of ", num_ranks, num_ranks == 1 ? " rank" : " ranks", ", which are ", of_all,
          "; state one of the two");
}

// One row a group: how many threads each of its ranks has.
std::vector<std::vector<size_t>> CountThreads(const std::vector<Group>& groups, int num_ranks, const PlacementOptions& options) {
  const int asked = options.threads_per_rank > 0 ? options.threads_per_rank : options.threads / num_ranks;
  std::vector<std::vector<size_t>> counts;
  for (const Group& group : groups) {
    std::vector<size_t>& of_group = counts.emplace_back();
    for (size_t r = 0; r < group.num_ranks; ++r) {
      of_group.push_back(asked > 0 ? static_cast<size_t>(asked) : std::max<size_t>(1, group.ShareSize(r)));
    }
  }
  return counts;
}

size_t Sum(const std::vector<size_t>& counts) {
  size_t sum = 0;
  for (size_t count : counts) sum += count;
  return sum;
}

bool HaveOwnCores(const Group& group, const std::vector<size_t>& counts) {
  for (size_t r = 0; r < group.num_ranks; ++r) {
    if (counts[r] > group.ShareSize(r)) return false;
  }
  return true;
}

int EnvironmentNumber(std::initializer_list<const char*> names, int otherwise) {
  for (const char* name : names) {
    if (const char* value = std::getenv(name); value != nullptr) return std::atoi(value);
  }
  return otherwise;
}

}  // namespace

std::string_view Name(Binding binding) { return kBindings[static_cast<size_t>(binding)]; }

PlacementOptions PlacementOptionsOf(const EngineOptions& options) {
  PlacementOptions placement{.threads = options.threads, .threads_per_rank = options.threads_per_rank};
  if (options.bind.empty()) return placement;
  const auto name = std::ranges::find(kBindings, options.bind);
  Require(name != kBindings.end(), ErrorCode::kInvalidArgument, "threads cannot be bound to \"", options.bind, "\"; use ", Join(kBindings));
  placement.binding = static_cast<Binding>(name - kBindings.begin());
  return placement;
}

std::vector<RankCpus> PlaceRanks(const Topology& topology, int num_ranks, const PlacementOptions& options) {
  CheckThreads(options, num_ranks);
  const std::vector<Group> groups = MakeGroups(topology, static_cast<size_t>(num_ranks));
  const std::vector<std::vector<size_t>> counts = CountThreads(groups, num_ranks, options);
  size_t num_cpus = 0, num_threads = 0;
  bool have_own_cores = true;
  for (size_t g = 0; g < groups.size(); ++g) {
    num_cpus += groups[g].cpus.size(), num_threads += Sum(counts[g]);
    have_own_cores = have_own_cores && HaveOwnCores(groups[g], counts[g]);
  }
  const Binding binding = options.binding.value_or(have_own_cores ? Binding::kCore : Binding::kNone);
  Require(binding != Binding::kCore || have_own_cores, ErrorCode::kInvalidArgument, num_threads, " threads of ", num_ranks,
          num_ranks == 1 ? " rank" : " ranks", " cannot each have a core of their own: ranks share out ", num_cpus,
          " usable ones; use fewer threads, or bind them to numa or none");
  std::vector<RankCpus> places;
  for (size_t g = 0; g < groups.size(); ++g) {
    for (size_t r = 0; r < groups[g].num_ranks; ++r) {
      RankCpus& place = places.emplace_back();
      place.num_threads = static_cast<int>(counts[g][r]);
      const size_t begin = groups[g].ShareBegin(r);
      if (binding == Binding::kCore) {
        place.cpus = groups[g].Cpus(begin, begin + counts[g][r]);
      } else if (binding == Binding::kNuma) {
        place.cpus = groups[g].NodesOf(r, counts[g][r]);
        place.workers = Sum(counts[g]) <= groups[g].cpus.size() ? Workers::kFloating : Workers::kSharing;
      } else {
        place.workers = num_threads <= num_cpus ? Workers::kFloating : Workers::kSharing;
      }
    }
  }
  return places;
}

PlacementOptions OfEachRank(const PlacementOptions& options, int num_ranks) {
  CheckThreads(options, num_ranks);
  return {.threads_per_rank = options.threads_per_rank > 0 ? options.threads_per_rank : options.threads / num_ranks, .binding = options.binding};
}

RankCpus PlaceSingleRank(const PlacementOptions& options) {
  if (options.binding.value_or(Binding::kNone) != Binding::kNone) return PlaceRanks(ReadTopology(), 1, options).front();
  CheckThreads(options, 1);
  return {.num_threads = std::max(options.threads, options.threads_per_rank), .workers = options.binding ? Workers::kFloating : Workers::kPinned};
}

int SuggestedRanks(const Topology& topology) {
  constexpr size_t kMaxRanks = 8;
  const auto has_cpus = [](const NumaNode& node) { return !node.usable_cpus.empty(); };
  const auto num_nodes = static_cast<size_t>(std::ranges::count_if(topology.nodes, has_cpus));
  return static_cast<int>(std::bit_floor(std::min(num_nodes, kMaxRanks)));
}

LocalRank LocalRankFromEnvironment() {
  const LocalRank local{.rank = EnvironmentNumber({"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID"}, 0),
                        .size = EnvironmentNumber({"OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"}, 1)};
  return local.rank >= 0 && local.rank < local.size ? local : LocalRank{};
}

RankCpus PlaceProcess(const Topology& topology, const LocalRank& local, const PlacementOptions& options) {
  if (!topology.is_bound) return PlaceRanks(topology, local.size, options)[static_cast<size_t>(local.rank)];
  size_t num_cores = 0, num_usable = 0;
  for (const NumaNode& node : topology.nodes) num_cores += static_cast<size_t>(node.num_cores), num_usable += node.usable_cpus.size();
  // Such sets of cores for every process would be this many times the machine's, rounded: shares of an odd number of cores differ by one.
  const size_t sharers = std::max<size_t>(1, (2 * static_cast<size_t>(local.size) * num_usable + num_cores) / (2 * num_cores));
  const size_t num_threads = options.threads_per_rank > 0 ? static_cast<size_t>(options.threads_per_rank) : std::max<size_t>(1, num_usable / sharers);
  Workers workers = options.binding.value_or(Binding::kCore) == Binding::kCore ? Workers::kPinned : Workers::kFloating;
  if (sharers > 1) workers = num_threads * sharers <= num_usable ? Workers::kFloating : Workers::kSharing;
  return {.num_threads = static_cast<int>(num_threads), .workers = workers};
}

void BindThisThread(const RankCpus& place) noexcept {
  if (place.cpus.empty()) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int cpu : place.cpus) CPU_SET(static_cast<size_t>(cpu), &set);
  sched_setaffinity(0, sizeof set, &set);
}

}  // namespace intaglio::runtime
