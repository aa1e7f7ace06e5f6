// The machine as ranks see it: sockets, NUMA nodes with their memory, and the CPUs that this process may keep busy. Plain data, so that
// placement (placement.h) is a function of it. Read by hwloc, which is loaded when somebody asks and not before: a bundle of one rank, and
// a command that computes nothing, need not have it.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/cpus.h"

namespace intaglio::runtime {

struct NumaNode {
  int number = 0;                 // the system's
  int socket = -1;                // the nearest, from 0; -1: memory that is near none
  uint64_t bytes = 0;             // its memory
  int num_cores = 0;              // physical ones, usable or not; of several memories beside the same cores the first has them
  std::vector<int> usable_cpus{};   // one a core
};

struct Topology {
  int num_sockets = 1;
  std::vector<NumaNode> nodes;    // neighbours in the machine are neighbours here
  // Whether the process's affinity leaves out CPUs that the system would give it: somebody has chosen its place already.
  bool is_bound = false;
  std::string note{};             // why less is known than hwloc would tell; empty: it told all
};

struct TopologySource {
  std::vector<int> usable_cpus = UsableCpus(), allowed_cpus = AllowedCpus();
  std::string synthetic{};        // a made-up machine in hwloc's words, e.g. "pack:2 node:1 core:4 pu:1"; empty: this one
};

// Without hwloc, or where it fails: one node with all CPUs, and a note. Takes about 10 ms. Throws Error kInvalidArgument for a made-up machine
// that hwloc does not understand.
[[nodiscard]] Topology ReadTopology(const TopologySource& source = {});

}  // namespace intaglio::runtime
