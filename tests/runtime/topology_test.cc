#include "runtime/ranks/topology.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "intaglio/error.h"

namespace intaglio::runtime {
namespace {

using Cpus = std::vector<int>;

Cpus Range(int begin, int end) {
  Cpus cpus(static_cast<size_t>(end - begin));
  std::iota(cpus.begin(), cpus.end(), begin);
  return cpus;
}

TEST(ReadTopology, ThisMachineHasAllUsableCpusOnItsNodes) {
  Cpus found;
  for (const NumaNode& node : ReadTopology().nodes) found.insert(found.end(), node.usable_cpus.begin(), node.usable_cpus.end());
  std::ranges::sort(found);
  EXPECT_EQ(found, UsableCpus());
}

TEST(ReadTopology, NodesHaveTheirSocketMemoryAndCores) {
  const Topology machine =
      ReadTopology({.usable_cpus = {0, 2, 4, 6, 8, 10, 12, 14}, .allowed_cpus = Range(0, 16), .synthetic = "pack:2 [numa(memory=4GB)] core:4 pu:2"});
  ASSERT_EQ(machine.note, "");
  EXPECT_EQ(machine.num_sockets, 2);
  EXPECT_FALSE(machine.is_bound);
  ASSERT_EQ(machine.nodes.size(), 2u);
  EXPECT_EQ(machine.nodes[1].number, 1);
  EXPECT_EQ(machine.nodes[1].socket, 1);
  EXPECT_EQ(machine.nodes[1].bytes, 4'000'000'000u);
  EXPECT_EQ(machine.nodes[1].num_cores, 4);
  EXPECT_EQ(machine.nodes[1].usable_cpus, (Cpus{8, 10, 12, 14}));
}

TEST(ReadTopology, SeveralNodesOfASocketAreNeighbours) {
  const Topology machine = ReadTopology({.usable_cpus = Range(0, 16), .allowed_cpus = Range(0, 16), .synthetic = "pack:2 numa:4 core:2 pu:1"});
  ASSERT_EQ(machine.nodes.size(), 8u);
  for (int n = 0; n < 8; ++n) {
    EXPECT_EQ(machine.nodes[static_cast<size_t>(n)].socket, n / 4);
    EXPECT_EQ(machine.nodes[static_cast<size_t>(n)].usable_cpus, Range(2 * n, 2 * n + 2));
  }
}

// As high-bandwidth memory is beside DRAM.
TEST(ReadTopology, OfTwoMemoriesBesideTheSameCoresTheFirstHasThem) {
  const Topology machine =
      ReadTopology({.usable_cpus = Range(0, 4), .allowed_cpus = Range(0, 4), .synthetic = "pack:1 [numa][numa(memory=1GB)] core:4 pu:1"});
  ASSERT_EQ(machine.nodes.size(), 2u);
  EXPECT_EQ(machine.nodes[0].usable_cpus.size(), 4u);
  EXPECT_EQ(machine.nodes[1].num_cores, 0);
  EXPECT_EQ(machine.nodes[1].socket, 0);
  EXPECT_TRUE(machine.nodes[1].usable_cpus.empty());
}

TEST(ReadTopology, AffinityThatLeavesOutCpusIsABinding) {
  const Topology machine = ReadTopology({.usable_cpus = {0, 2}, .allowed_cpus = {0, 1, 2, 3}, .synthetic = "pack:2 [numa] core:2 pu:2"});
  EXPECT_TRUE(machine.is_bound);
  EXPECT_EQ(machine.nodes[0].usable_cpus, (Cpus{0, 2}));
  EXPECT_EQ(machine.nodes[1].num_cores, 2);
  EXPECT_TRUE(machine.nodes[1].usable_cpus.empty());
}

TEST(ReadTopology, CpusThatHwlocDoesNotKnowAreOnOneNode) {
  const Topology machine = ReadTopology({.usable_cpus = {8, 9}, .allowed_cpus = {8, 9}, .synthetic = "pack:2 [numa] core:2 pu:2"});
  ASSERT_EQ(machine.nodes.size(), 1u);
  EXPECT_EQ(machine.nodes[0].usable_cpus, (Cpus{8, 9}));
  EXPECT_NE(machine.note, "");
}

TEST(ReadTopology, NonsenseIsAnError) { EXPECT_THROW((void)ReadTopology({.synthetic = "sockets, many"}), Error); }

}  // namespace
}  // namespace intaglio::runtime
