// The commands of `intaglio`, one file each. Each adds itself to the application and leaves in `chosen` what to run when the command line
// named it. A command returns the exit code: 0 fine, 1 the work failed, 128 + n ended by signal n. Wrong usage (2) is main's.
#pragma once
#include <functional>

namespace CLI {
class App;
}

namespace intaglio::cli {

using Command = std::function<int()>;

void AddExportCommand(CLI::App& app, Command& chosen);
void AddRunCommand(CLI::App& app, Command& chosen);
void AddInspectCommand(CLI::App& app, Command& chosen);
void AddEmbedCommand(CLI::App& app, Command& chosen);
void AddBenchCommand(CLI::App& app, Command& chosen);
void AddCacheCommand(CLI::App& app, Command& chosen);
void AddCompareCommand(CLI::App& app, Command& chosen);

}  // namespace intaglio::cli
