// The options that say what an export makes: of `export`, and of the commands that ask whether the cache has it.
#pragma once
#include "intaglio/export.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace intaglio::cli {

// SRC and every option that decides a bundle's bytes. Returns --tp. `options` must live as long as the parser.
CLI::Option* AddExportOptions(CLI::App& command, ExportOptions& options);
// --cache-dir and --no-cache; without them options.cache is the default.
void AddCacheOptions(CLI::App& command, ExportOptions& options);

}  // namespace intaglio::cli
