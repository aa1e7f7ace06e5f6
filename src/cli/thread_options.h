// The options of every command that loads an engine: how many threads, and where.
#pragma once
#include <vector>

#include "intaglio/engine.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace intaglio::cli {

// --threads, --threads-per-rank and --bind, which it returns. `engine` must live as long as the parser.
std::vector<CLI::Option*> AddThreadOptions(CLI::App* command, EngineOptions& engine);
// --wire, of commands that compute.
void AddWireOption(CLI::App* command, EngineOptions& engine);
// --prefault, --mlock and --verify: what Load does before it returns. Has checksums that were verified remembered in the default cache.
void AddStartOptions(CLI::App* command, EngineOptions& engine);

}  // namespace intaglio::cli
