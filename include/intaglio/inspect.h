// What is in a bundle, as text for people and JSON for programs. Checks everything that loading it would check.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>

#include "intaglio/engine.h"

namespace intaglio {

enum class InspectView : uint8_t {
  kSummary,  // model, memory plan, KV groups, graphs and buckets, files; verdicts and measured costs, where the bundle has them
  kMemory,   // the memory plan alone; the one view that reads no file to its end to compare checksums
  kPlan,     // every kernel call of every phase and bucket
  kGraph,    // the graphs that the plans were made from
  kAttention,  // which kernel serves which attention, and the row of each layer
  kWeights,  // name, layout, dtype, shape and size of each
  kJson,     // the manifest and the plans in figures: {"manifest": {…}, "plans": [{…}], "costs": {…}}
};

// Throws Error as Engine::Load does for a bundle that is not whole.
[[nodiscard]] std::string Inspect(const std::filesystem::path& bundle, InspectView view);

enum class TopologyView : uint8_t {
  kText,
  kJson,   // {"machine": {"sockets", "is_bound", "note", "nodes": [{…}]}, "ranks": [{"nodes", "cpus", "threads", …}], "suggested_tp"}
};

// This machine (sockets, NUMA nodes, memory, cores, CPUs that this process may use), and where one process that loads the bundle with these
// options has its ranks: nodes, CPUs, threads, and bytes of weights, KV cache and arena. Throws Error as Engine::Load does for options that
// contradict each other; checksums are not verified.
[[nodiscard]] std::string InspectTopology(const std::filesystem::path& bundle, const EngineOptions& options, TopologyView view);

// A sentence, on a machine of several NUMA nodes, that says how many ranks suit it; empty on others.
[[nodiscard]] std::string SuggestRanks();

}  // namespace intaglio
