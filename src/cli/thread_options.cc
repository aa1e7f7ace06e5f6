#include "cli/thread_options.h"

#include <CLI/CLI.hpp>

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

}  // namespace intaglio::cli
