// The compile cache: bundles that were exported before, each under a key that is a hash of all that decides its bytes: the compiler, the
// checkpoint's files and the export's options. What differs in any of them is another entry, so none is ever out of date; an entry that is
// damaged is none. Nothing is locked: an entry appears whole, by one rename, and processes may use a cache at the same time.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "intaglio/export.h"

namespace intaglio {

// A part of a key: "compiler", "source", "file config.json", "max_context", …
struct CacheField {
  std::string name, value;
  bool operator==(const CacheField&) const = default;
};

// What an export's options have of its key, in order; the rest is the compiler and the checkpoint.
[[nodiscard]] std::vector<CacheField> FieldsOf(const ExportOptions& options);

struct CacheEntry {
  std::string key;                   // 32 hexadecimal digits
  std::vector<CacheField> fields;    // what it is a hash of
  std::filesystem::path bundle;
  uint64_t bytes = 0;                // of the bundle's files
  uint64_t unshared_bytes = 0;       // of those that no bundle outside of the cache is a hard link to: what removing the entry frees
  int64_t last_used = 0;             // seconds since 1970
};

struct CacheLookup {
  std::string key;
  std::vector<CacheField> fields;
  std::optional<CacheEntry> entry;   // none: an export would make it
};

struct CacheStatus {
  uint64_t num_entries = 0, bytes = 0, unshared_bytes = 0;   // as in CacheEntry, of all
  uint64_t num_damaged = 0;          // files are gone or have changed
  uint64_t num_unfinished = 0;       // left by an export or import that ended early, or still under way
  uint64_t num_hashes = 0;           // files whose contents are known without reading them
};

struct PruneOptions {
  std::optional<int64_t> older_than{};      // seconds since an entry was last used
  std::optional<uint64_t> max_bytes{};      // of all entries that stay; the last used stay
  std::string keep{};                       // an entry that max_bytes does not remove
  bool all = false;
};

struct PruneReport {
  uint64_t num_removed = 0, bytes = 0, freed_bytes = 0;   // freed: unshared_bytes of what was removed
};

class CompileCache {
 public:
  // Throws Error kInvalidArgument for an empty path. The directory appears with the first entry.
  explicit CompileCache(std::filesystem::path directory);

  [[nodiscard]] const std::filesystem::path& directory() const { return directory_; }
  // Whether Export has a bundle ready for these options (output and gate aside). Reads the checkpoint's files, those that have not changed since
  // the last time excepted. Throws Error as Export does for a checkpoint that is not there.
  [[nodiscard]] CacheLookup LookUp(const ExportOptions& options) const;
  // The last used first; none that is damaged.
  [[nodiscard]] std::vector<CacheEntry> Entries() const;
  // The entry with the most fields in common, the last used of several; nullopt in an empty cache.
  [[nodiscard]] std::optional<CacheEntry> Nearest(const std::vector<CacheField>& fields) const;
  [[nodiscard]] CacheStatus Status() const;
  // Removes what the options say, and always what is damaged, what was left unfinished more than an hour ago, and hashes that are a quarter
  // of a year old.
  PruneReport Prune(const PruneOptions& options) const;

  // Writes an entry to a new folder, which ImportEntry takes on another machine. The first digits of a key will do if no other has them. Throws
  // Error kNotFound, kInvalidArgument (several keys; the folder exists), kIo.
  void ExportEntry(const std::string& key, const std::filesystem::path& folder) const;
  // Adds what ExportEntry wrote, once all of its files have the right checksums; returns its key. Throws Error as Bundle::Open, kDataLoss, kIo.
  [[nodiscard]] std::string ImportEntry(const std::filesystem::path& folder) const;

 private:
  std::filesystem::path directory_;
};

}  // namespace intaglio
