// What is in a bundle, as text for people and JSON for programs. Checks everything that loading it would check.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>

namespace intaglio {

enum class InspectView : uint8_t {
  kSummary,  // model, memory plan, KV groups, graphs and buckets, files
  kMemory,   // the memory plan alone
  kPlan,     // every kernel call of every phase and bucket
  kGraph,    // the graphs that the plans were made from
  kAttention,  // which kernel serves which attention, and the row of each layer
  kWeights,  // name, layout, dtype, shape and size of each
  kJson,     // the manifest and the plans in figures: {"manifest": {…}, "plans": [{…}]}
};

// Throws Error as Engine::Load does for a bundle that is not whole.
[[nodiscard]] std::string Inspect(const std::filesystem::path& bundle, InspectView view);

}  // namespace intaglio
