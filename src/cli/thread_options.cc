#include "cli/thread_options.h"

#include <CLI/CLI.hpp>

#include "cli/cache_directory.h"

namespace intaglio::cli {

std::vector<CLI::Option*> AddThreadOptions(CLI::App* command, EngineOptions& engine) {
  return {
      command->add_option("--threads", engine.threads, "Threads (default: one per physical core)")->check(CLI::PositiveNumber),
      command->add_option("--threads-per-rank", engine.threads_per_rank, "Of a bundle for several ranks: threads of each")
          ->check(CLI::PositiveNumber),
      command
          ->add_option("--bind", engine.bind,
                       "Keep threads to a core each (core), to the cores of their rank's NUMA node (numa), or nowhere (none) (default: core where "
                       "they suffice)")
          ->check(CLI::IsMember({"none", "core", "numa"})),
  };
}

void AddWireOption(CLI::App* command, EngineOptions& engine) {
  command
      ->add_option("--wire", engine.wire,
                   "Of a bundle for several ranks: sums travel as f32 (default), or as bf16, half the bytes, with other answers than one rank's")
      ->check(CLI::IsMember({"f32", "bf16"}));
}

void AddStartOptions(CLI::App* command, EngineOptions& engine) {
  engine.cache = DefaultCacheDirectory();
  command->add_flag("--prefault", engine.prefault,
                    "Have weights, KV cache and arena in RAM before the first step: starts later, and no step waits for the system");
  command->add_flag("--mlock", engine.mlock, "The same, and keep them there: nothing is swapped out or read again");
  command->add_flag_callback(
      "--verify", [&engine] { engine.cache.clear(); },
      "Compare the checksums of all files, also of those that were found right before and have not changed since");
}

}  // namespace intaglio::cli
