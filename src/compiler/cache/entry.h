// An entry of the compile cache as files: <cache>/entries/<key> with entry.json and the folder bundle/. entry.json states the key's fields and
// each file's size and time of modification, so that a file that changed since it was stored, through a hard link too, is found out without
// reading it. An entry is made beside its place and renamed; its age is that of entry.json.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "intaglio/cache.h"

namespace intaglio::compiler {

struct FileStamp {
  uint64_t bytes = 0;
  int64_t modified = 0;   // nanoseconds since 1970
  uint64_t num_links = 1;
};

struct StoredEntry {
  CacheEntry entry;
  std::vector<std::string> notes;          // of the export that made it
  std::map<std::string, FileStamp> files;  // of bundle/, by name
};

[[nodiscard]] std::filesystem::path EntriesFolder(const std::filesystem::path& cache);
// A name for what is not an entry yet (".new-…"), or no longer is (".old-…"): of this process, and used once.
[[nodiscard]] std::filesystem::path TemporaryName(const std::filesystem::path& cache, std::string_view prefix, const std::string& key);

// What entry.json of a folder says; nullopt where it is not there, or is none.
[[nodiscard]] std::optional<StoredEntry> ReadEntryFile(const std::filesystem::path& folder);
// The entry of a key; nullopt where there is none, or one that is damaged: a file is gone, or is not as it was stored.
[[nodiscard]] std::optional<StoredEntry> FindEntry(const std::filesystem::path& cache, const std::string& key);
// Marks it as used now.
void Touch(const StoredEntry& stored);

// Gives `to` the file's contents: by a hard link where it is large, so that nothing is copied; by a copy of its own where it is small, so that
// who edits a template edits his own, or where the file systems differ.
[[nodiscard]] std::error_code ShareFile(const std::filesystem::path& from, const std::filesystem::path& to);
// Files of a folder into another, which it makes.
[[nodiscard]] std::error_code ShareFolder(const std::filesystem::path& from, const std::filesystem::path& to);

// Puts the files of `bundle` into the cache; an entry that is already there stays, unless it is damaged.
[[nodiscard]] std::error_code StoreEntry(const std::filesystem::path& cache, const StoredEntry& stored, const std::filesystem::path& bundle);
// Takes the entry away by one rename, then removes it.
void RemoveEntry(const std::filesystem::path& cache, const std::string& key);

}  // namespace intaglio::compiler
