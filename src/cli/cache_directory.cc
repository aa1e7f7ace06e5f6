#include "cli/cache_directory.h"

#include <cstdlib>

namespace intaglio::cli {

std::filesystem::path DefaultCacheDirectory() {
  if (const char* chosen = std::getenv("INTAGLIO_CACHE")) return chosen;
  // The XDG specification has relative paths ignored.
  if (const char* caches = std::getenv("XDG_CACHE_HOME"); caches != nullptr && *caches == '/') return std::filesystem::path(caches) / "intaglio";
  if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/') return std::filesystem::path(home) / ".cache/intaglio";
  return {};
}

}  // namespace intaglio::cli
