// Hashes of files that were computed before, so that a large file is read once to know what is in it. A directory of small files, one for each
// file as it was: device, inode, size and time of modification. What changes any of these is hashed again; what keeps all four while it changes
// the bytes (a failing disk, a forged time) is not seen. Nothing depends on the directory: what cannot be read or written there is computed
// again. Safe from several threads and processes at once.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace intaglio {

class KnownHashes {
 public:
  KnownHashes() = default;   // knows nothing, and remembers nothing
  // Those of a cache directory (an empty path: none), in its folder "hashes", which appears with the first.
  explicit KnownHashes(const std::filesystem::path& cache);

  // The file as it is now, to be asked for before its bytes are read; empty where it cannot be told apart from what it may be next: it is no
  // regular file, or was modified within the last 0.1 s, which is as fine as times of modification may be.
  [[nodiscard]] static std::string Identify(const std::filesystem::path& file);
  // HashHex of the bytes of a file of this identity, if it is known.
  [[nodiscard]] std::optional<std::string> Find(const std::string& identity) const;
  // Remembers `hash` for a file that still has the identity that it had before its bytes were read.
  void Remember(const std::filesystem::path& file, const std::string& identity, std::string_view hash) const;

 private:
  std::filesystem::path directory_;
};

}  // namespace intaglio
