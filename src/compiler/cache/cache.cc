#include "intaglio/cache.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <ctime>

#include "base/fail.h"
#include "bundle/bundle.h"
#include "compiler/cache/entry.h"
#include "compiler/cache/key.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;
using compiler::StoredEntry;

constexpr std::string_view kNew = ".new-", kOld = ".old-";

bool IsTemporary(const std::string& name) { return name.starts_with(kNew) || name.starts_with(kOld); }

// Names of a folder; none of one that is not there.
std::vector<std::string> NamesIn(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator file(folder, error); !error && file != fs::directory_iterator(); file.increment(error))
    names.push_back(file->path().filename().string());
  return names;
}

std::chrono::seconds AgeOf(const fs::path& path) {
  std::error_code error;
  const fs::file_time_type time = fs::last_write_time(path, error);
  return error ? std::chrono::seconds(0) : std::chrono::duration_cast<std::chrono::seconds>(fs::file_time_type::clock::now() - time);
}

// The process that a name ".new-<key>-<process>-<count>" is of still runs here.
bool IsOfALiveProcess(const std::string& name) {
  const size_t end = name.rfind('-'), begin = name.rfind('-', end - 1);
  int process = 0;
  (void)std::from_chars(name.data() + begin + 1, name.data() + end, process);
  return process > 0 && (kill(process, 0) == 0 || errno != ESRCH);
}

// Left behind by a process that ended. Of another machine that shares the cache nothing is known but the time, which is generous.
bool IsAbandoned(const fs::path& path) { return AgeOf(path) > std::chrono::hours(1) && !IsOfALiveProcess(path.filename().string()); }

void RequireNew(const fs::path& folder) {
  std::error_code ignored;
  Require(!fs::exists(folder, ignored), ErrorCode::kInvalidArgument, folder.string(), ": exists already; name a new folder");
}

}  // namespace

CompileCache::CompileCache(fs::path directory) : directory_(std::move(directory)) {
  Require(!directory_.empty(), ErrorCode::kInvalidArgument, "there is no cache directory: INTAGLIO_CACHE or --cache-dir names one");
}

CacheLookup CompileCache::LookUp(const ExportOptions& options) const {
  ExportOptions here = options;
  here.cache = directory_;
  CacheLookup lookup{.key = {}, .fields = compiler::KeyFields(here), .entry = {}};
  lookup.key = compiler::KeyOf(lookup.fields);
  if (const auto stored = compiler::FindEntry(directory_, lookup.key)) lookup.entry = stored->entry;
  return lookup;
}

std::vector<CacheEntry> CompileCache::Entries() const {
  std::vector<CacheEntry> entries;
  for (const std::string& name : NamesIn(compiler::EntriesFolder(directory_))) {
    if (const auto stored = compiler::FindEntry(directory_, name)) entries.push_back(stored->entry);
  }
  std::ranges::sort(entries,
                    [](const CacheEntry& a, const CacheEntry& b) { return a.last_used != b.last_used ? a.last_used > b.last_used : a.key < b.key; });
  return entries;
}

std::optional<CacheEntry> CompileCache::Nearest(const std::vector<CacheField>& fields) const {
  const auto common = [&](const CacheEntry& entry) {
    return std::ranges::count_if(entry.fields, [&](const CacheField& field) { return std::ranges::find(fields, field) != fields.end(); });
  };
  const std::vector<CacheEntry> entries = Entries();
  const auto nearest = std::ranges::max_element(entries, {}, common);
  return nearest == entries.end() ? std::nullopt : std::optional(*nearest);
}

CacheStatus CompileCache::Status() const {
  CacheStatus status{.num_hashes = NamesIn(directory_ / "hashes").size()};
  for (const std::string& name : NamesIn(compiler::EntriesFolder(directory_))) {
    const auto stored = compiler::FindEntry(directory_, name);
    if (IsTemporary(name)) {
      ++status.num_unfinished;
    } else if (!stored) {
      ++status.num_damaged;
    } else {
      ++status.num_entries;
      status.bytes += stored->entry.bytes, status.unshared_bytes += stored->entry.unshared_bytes;
    }
  }
  return status;
}

PruneReport CompileCache::Prune(const PruneOptions& options) const {
  constexpr auto kOldHash = std::chrono::days(90);
  std::error_code ignored;
  for (const std::string& name : NamesIn(compiler::EntriesFolder(directory_))) {
    const fs::path path = compiler::EntriesFolder(directory_) / name;
    if (!IsTemporary(name) && !compiler::FindEntry(directory_, name)) compiler::RemoveEntry(directory_, name);
    if (IsTemporary(name) && (options.all || IsAbandoned(path))) fs::remove_all(path, ignored);
  }
  for (const std::string& name : NamesIn(directory_ / "hashes")) {
    if (options.all || AgeOf(directory_ / "hashes" / name) > kOldHash) fs::remove(directory_ / "hashes" / name, ignored);
  }
  PruneReport report;
  uint64_t kept = 0;
  for (const CacheEntry& entry : Entries()) {
    const bool is_old = options.older_than && std::time(nullptr) - entry.last_used > *options.older_than;
    const bool is_too_much = options.max_bytes && entry.key != options.keep && kept + entry.bytes > *options.max_bytes;
    if (options.all || is_old || is_too_much) {
      compiler::RemoveEntry(directory_, entry.key);
      ++report.num_removed, report.bytes += entry.bytes, report.freed_bytes += entry.unshared_bytes;
    } else {
      kept += entry.bytes;
    }
  }
  return report;
}

void CompileCache::ExportEntry(const std::string& key, const fs::path& folder) const {
  std::vector<CacheEntry> entries = Entries();
  std::erase_if(entries, [&](const CacheEntry& entry) { return !entry.key.starts_with(key); });
  Require(!entries.empty(), ErrorCode::kNotFound, directory_.string(), ": has no entry ", key, "; intaglio cache list shows them");
  Require(entries.size() == 1, ErrorCode::kInvalidArgument, directory_.string(), ": has ", entries.size(), " entries that begin with ", key,
          "; give more digits");
  RequireNew(folder);
  fs::path temporary = folder;
  temporary += StrCat(".tmp", getpid());
  const fs::path from = entries.front().bundle.parent_path();
  std::error_code error;
  fs::create_directory(temporary, error);
  if (!error) error = compiler::ShareFolder(entries.front().bundle, temporary / "bundle");
  if (!error) fs::copy_file(from / "entry.json", temporary / "entry.json", error);
  if (!error) fs::rename(temporary, folder, error);
  std::error_code ignored;
  fs::remove_all(temporary, ignored);
  Require(!error, ErrorCode::kIo, folder.string(), ": cannot write the entry here: ", error.message());
}

std::string CompileCache::ImportEntry(const fs::path& folder) const {
  const auto stored = compiler::ReadEntryFile(folder);
  Require(stored.has_value(), ErrorCode::kDataLoss, folder.string(), ": is not what intaglio cache export writes: it has no valid entry.json");
  int num_ranks = 1;
  for (int rank = 0; rank < num_ranks; ++rank)
    num_ranks = bundle::Bundle::Open(stored->entry.bundle, /*verify_checksums=*/true, rank).manifest.tp_degree;
  const std::error_code error = compiler::StoreEntry(directory_, *stored, stored->entry.bundle);
  Require(!error, ErrorCode::kIo, directory_.string(), ": cannot keep the entry: ", error.message());
  return stored->entry.key;
}

}  // namespace intaglio
