#include "runtime/ranks/placement.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <thread>

#include "intaglio/error.h"

namespace intaglio::runtime {
namespace {

using Cpus = std::vector<int>;
using Workers = ThreadPool::Workers;

// Nodes with these numbers of usable CPUs, numbered one after the other, half of the nodes a socket.
Topology MachineOf(const std::vector<int>& cpus_of_nodes) {
  Topology machine{.num_sockets = cpus_of_nodes.size() > 1 ? 2 : 1, .nodes = {}};
  int next = 0;
  for (size_t n = 0; n < cpus_of_nodes.size(); ++n) {
    NumaNode node{.number = static_cast<int>(n), .socket = static_cast<int>(2 * n / cpus_of_nodes.size()), .num_cores = cpus_of_nodes[n]};
    node.usable_cpus.resize(static_cast<size_t>(cpus_of_nodes[n]));
    std::iota(node.usable_cpus.begin(), node.usable_cpus.end(), next);
    next += cpus_of_nodes[n];
    machine.nodes.push_back(node);
  }
  return machine;
}

std::vector<Cpus> CpusOf(const std::vector<RankCpus>& places) {
  std::vector<Cpus> cpus;
  for (const RankCpus& place : places) cpus.push_back(place.cpus);
  return cpus;
}

std::vector<int> ThreadsOf(const std::vector<RankCpus>& places) {
  std::vector<int> threads;
  for (const RankCpus& place : places) threads.push_back(place.num_threads);
  return threads;
}

size_t NodesUsed(const Topology& machine, const Cpus& cpus) {
  return static_cast<size_t>(std::ranges::count_if(machine.nodes, [&](const NumaNode& node) {
    return std::ranges::any_of(node.usable_cpus, [&](int cpu) { return std::ranges::count(cpus, cpu) > 0; });
  }));
}

ErrorCode CodeOf(const Topology& machine, int num_ranks, const PlacementOptions& options) {
  try {
    (void)PlaceRanks(machine, num_ranks, options);
  } catch (const Error& e) { return e.code(); }
  return ErrorCode::kIo;   // which placement never throws
}

TEST(PlaceRanks, TwoRanksTakeASocketEach) { EXPECT_EQ(CpusOf(PlaceRanks(MachineOf({3, 3}), 2, {})), (std::vector<Cpus>{{0, 1, 2}, {3, 4, 5}})); }

TEST(PlaceRanks, RanksOfOneNodeShareItsCores) {
  EXPECT_EQ(CpusOf(PlaceRanks(MachineOf({8}), 3, {})), (std::vector<Cpus>{{0, 1}, {2, 3, 4}, {5, 6, 7}}));
}

TEST(PlaceRanks, NeighboursShareANode) {
  EXPECT_EQ(CpusOf(PlaceRanks(MachineOf({4, 4}), 4, {})), (std::vector<Cpus>{{0, 1}, {2, 3}, {4, 5}, {6, 7}}));
}

TEST(PlaceRanks, EightRanksTakeANodeEach) {
  const std::vector<RankCpus> places = PlaceRanks(MachineOf(std::vector<int>(8, 2)), 8, {});
  for (int r = 0; r < 8; ++r) EXPECT_EQ(places[static_cast<size_t>(r)].cpus, (Cpus{2 * r, 2 * r + 1}));
}

TEST(PlaceRanks, FewerRanksThanNodesTakeWholeNodes) {
  const Topology machine = MachineOf(std::vector<int>(8, 2));
  EXPECT_EQ(CpusOf(PlaceRanks(machine, 2, {})), (std::vector<Cpus>{{0, 1, 2, 3, 4, 5, 6, 7}, {8, 9, 10, 11, 12, 13, 14, 15}}));
  EXPECT_EQ(ThreadsOf(PlaceRanks(machine, 3, {})), (std::vector<int>{4, 6, 6}));
}

TEST(PlaceRanks, FewThreadsStayOnTheFirstNodeOfARank) {
  for (const Binding binding : {Binding::kCore, Binding::kNuma}) {
    EXPECT_EQ(CpusOf(PlaceRanks(MachineOf(std::vector<int>(8, 2)), 2, {.threads_per_rank = 2, .binding = binding})),
              (std::vector<Cpus>{{0, 1}, {8, 9}}));
  }
}

// On any machine and for any number of ranks that the cores suffice for.
TEST(PlaceRanks, NoCoreHasTwoRanksAndEveryRankHasOneNode) {
  for (const std::vector<int>& nodes : std::vector<std::vector<int>>{{8}, {4, 4}, {5, 3}, {3, 3, 3}, {1, 2, 3, 4}, {2, 14}}) {
    const Topology machine = MachineOf(nodes);
    for (int num_ranks = static_cast<int>(nodes.size()); num_ranks <= 8; ++num_ranks) {
      std::set<int> taken;
      for (const RankCpus& place : PlaceRanks(machine, num_ranks, {})) {
        EXPECT_EQ(place.workers, Workers::kPinned);
        EXPECT_EQ(place.cpus.size(), static_cast<size_t>(place.num_threads));
        EXPECT_EQ(NodesUsed(machine, place.cpus), 1u);
        for (int cpu : place.cpus) EXPECT_TRUE(taken.insert(cpu).second) << num_ranks << " ranks, CPU " << cpu;
      }
    }
  }
}

// As affinity or a quota may leave it.
TEST(PlaceRanks, RanksGoWhereTheCpusAre) {
  EXPECT_EQ(ThreadsOf(PlaceRanks(MachineOf({2, 14}), 4, {})), (std::vector<int>{3, 4, 3, 4}));
  EXPECT_EQ(ThreadsOf(PlaceRanks(MachineOf({6, 3}), 3, {})), (std::vector<int>{3, 3, 3}));
  EXPECT_EQ(CpusOf(PlaceRanks(MachineOf({0, 4, 0}), 2, {})), (std::vector<Cpus>{{0, 1}, {2, 3}}));
}

TEST(PlaceRanks, MoreRanksThanCoresRunAnywhereAndShareThem) {
  for (const RankCpus& place : PlaceRanks(MachineOf({1, 1}), 8, {})) {
    EXPECT_TRUE(place.cpus.empty());
    EXPECT_EQ(place.num_threads, 1);
    EXPECT_EQ(place.workers, Workers::kSharing);
  }
}

TEST(PlaceRanks, OnNoCoresOfTheirOwnWorkersFloatWhereTheyFit) {
  const Topology machine = MachineOf({4, 4});
  const std::vector<RankCpus> free = PlaceRanks(machine, 2, {.binding = Binding::kNone}), node = PlaceRanks(machine, 4, {.binding = Binding::kNuma});
  EXPECT_TRUE(free[0].cpus.empty());
  EXPECT_EQ(free[0].workers, Workers::kFloating);
  EXPECT_EQ(CpusOf(node), (std::vector<Cpus>{{0, 1, 2, 3}, {0, 1, 2, 3}, {4, 5, 6, 7}, {4, 5, 6, 7}}));
  EXPECT_EQ(ThreadsOf(node), (std::vector<int>{2, 2, 2, 2}));
  EXPECT_EQ(node[3].workers, Workers::kFloating);
  EXPECT_EQ(PlaceRanks(machine, 4, {.threads_per_rank = 3, .binding = Binding::kNuma})[0].workers, Workers::kSharing);
}

TEST(PlaceRanks, ThreadsAreOfAllRanksOrOfEach) {
  const Topology machine = MachineOf({8});
  EXPECT_EQ(ThreadsOf(PlaceRanks(machine, 2, {.threads = 5})), (std::vector<int>{2, 2}));
  EXPECT_EQ(ThreadsOf(PlaceRanks(machine, 2, {.threads_per_rank = 3})), (std::vector<int>{3, 3}));
  EXPECT_EQ(ThreadsOf(PlaceRanks(machine, 2, {.threads = 6, .threads_per_rank = 3})), (std::vector<int>{3, 3}));
}

TEST(PlaceRanks, RefusesWhatCannotBe) {
  const Topology machine = MachineOf({2, 2});
  EXPECT_EQ(CodeOf(machine, 2, {.threads = 4, .threads_per_rank = 1}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(CodeOf(machine, 4, {.threads = 3}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(CodeOf(machine, 1, {.threads = -1}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(CodeOf(machine, 2, {.threads_per_rank = 3, .binding = Binding::kCore}), ErrorCode::kInvalidArgument);
  EXPECT_EQ(CodeOf(machine, 8, {.binding = Binding::kCore}), ErrorCode::kInvalidArgument);
}

TEST(PlacementOptions, NameTheBindingsThatThereAre) {
  EXPECT_EQ(PlacementOptionsOf({.bind = "numa"}).binding, Binding::kNuma);
  EXPECT_EQ(PlacementOptionsOf({}).binding, std::nullopt);
  EXPECT_THROW((void)PlacementOptionsOf({.bind = "socket"}), Error);
}

TEST(OfEachRank, DividesAndRefusesWhatContradicts) {
  EXPECT_EQ(OfEachRank({.threads = 9, .binding = Binding::kNuma}, 4).threads_per_rank, 2);
  EXPECT_EQ(OfEachRank({.threads = 9, .binding = Binding::kNuma}, 4).binding, Binding::kNuma);
  EXPECT_EQ(OfEachRank({}, 4).threads_per_rank, 0);
  EXPECT_THROW((void)OfEachRank({.threads = 8, .threads_per_rank = 4}, 4), Error);
  EXPECT_THROW((void)OfEachRank({.threads = 3}, 4), Error);
}

TEST(PlaceSingleRank, IsNotBoundUnlessAskedFor) {
  EXPECT_TRUE(PlaceSingleRank({.threads = 1}).cpus.empty());
  EXPECT_EQ(PlaceSingleRank({.threads = 1}).workers, Workers::kPinned);
  EXPECT_EQ(PlaceSingleRank({.threads_per_rank = 1, .binding = Binding::kNone}).workers, Workers::kFloating);
  EXPECT_EQ(PlaceSingleRank({.threads = 1, .binding = Binding::kCore}).cpus.size(), 1u);
}

TEST(SuggestedRanks, AreThePowerOfTwoOfNodesWithCpusAndAtMostEight) {
  EXPECT_EQ(SuggestedRanks(MachineOf({4})), 1);
  EXPECT_EQ(SuggestedRanks(MachineOf({4, 4})), 2);
  EXPECT_EQ(SuggestedRanks(MachineOf({4, 0})), 1);
  EXPECT_EQ(SuggestedRanks(MachineOf({4, 4, 4, 4, 4, 4})), 4);
  EXPECT_EQ(SuggestedRanks(MachineOf(std::vector<int>(16, 4))), 8);
}

TEST(PlaceProcess, ProcessesThatNobodyBoundShareTheHostAsThreadsDo) {
  const Topology host = MachineOf({2, 2});
  for (int r = 0; r < 4; ++r) EXPECT_EQ(PlaceProcess(host, {.rank = r, .size = 4}, {}).cpus, (Cpus{r}));
}

TEST(PlaceProcess, ABoundProcessKeepsToItsCores) {
  Topology half = MachineOf({4, 4});
  half.is_bound = true;
  half.nodes[0].usable_cpus.clear();
  const RankCpus alone = PlaceProcess(half, {.rank = 1, .size = 2}, {});
  EXPECT_TRUE(alone.cpus.empty());
  EXPECT_EQ(alone.num_threads, 4);
  EXPECT_EQ(alone.workers, Workers::kPinned);
}

// As a process is that took its place before, and loads another bundle.
TEST(PlaceProcess, SharesOfAnOddNumberOfCoresAreOwn) {
  Topology host = MachineOf({8});
  host.is_bound = true;
  host.nodes[0].usable_cpus = {5, 6, 7};
  EXPECT_EQ(PlaceProcess(host, {.rank = 2, .size = 3}, {}).num_threads, 3);
}

// Four processes with half of the host each: two and two have the same half.
TEST(PlaceProcess, BoundProcessesThatMustShareCoresTakeTheirPart) {
  Topology half = MachineOf({4, 4});
  half.is_bound = true;
  half.nodes[0].usable_cpus.clear();
  const RankCpus place = PlaceProcess(half, {.rank = 1, .size = 4}, {});
  EXPECT_EQ(place.num_threads, 2);
  EXPECT_EQ(place.workers, Workers::kFloating);
  EXPECT_EQ(PlaceProcess(half, {.rank = 1, .size = 4}, {.threads_per_rank = 4}).workers, Workers::kSharing);
}

TEST(BindThisThread, KeepsTheThreadAndThoseThatItStartsOnTheCpus) {
  const int cpu = UsableCpus().back();
  Cpus seen;
  std::thread([&] {
    BindThisThread({.cpus = {cpu}});
    std::thread([&] { seen = AllowedCpus(); }).join();
  }).join();
  EXPECT_EQ(seen, (Cpus{cpu}));
}

}  // namespace
}  // namespace intaglio::runtime
