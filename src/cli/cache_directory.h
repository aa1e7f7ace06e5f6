// Where the command line keeps its compile cache.
#pragma once
#include <filesystem>

namespace intaglio::cli {

// INTAGLIO_CACHE (set but empty: no cache), else intaglio in XDG_CACHE_HOME, else in .cache of the home directory. Empty: none.
[[nodiscard]] std::filesystem::path DefaultCacheDirectory();

}  // namespace intaglio::cli
