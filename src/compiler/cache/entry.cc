#include "compiler/cache/entry.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/strings.h"
#include "compiler/cache/key.h"

namespace intaglio::compiler {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr int kFormat = 1;
constexpr const char* kEntryFile = "entry.json";

std::optional<FileStamp> StampOf(const fs::path& file) {
  struct stat info{};
  if (lstat(file.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return std::nullopt;
  return FileStamp{.bytes = static_cast<uint64_t>(info.st_size),
                   .modified = int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec,
                   .num_links = info.st_nlink};
}

std::error_code LastError() { return {errno, std::generic_category()}; }

std::error_code Sync(const fs::path& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return LastError();
  const std::error_code error = fsync(fd) == 0 ? std::error_code() : LastError();
  close(fd);
  return error;
}

// All of a folder's files, and the folder.
std::error_code SyncFolder(const fs::path& folder) {
  std::error_code error;
  for (const fs::directory_entry& file : fs::directory_iterator(folder, error)) {
    if (file.is_regular_file() && !error) error = Sync(file.path());
  }
  return error ? error : Sync(folder);
}

std::string ToText(const StoredEntry& stored) {
  Json json{{"format", kFormat}, {"fields", Json::object()}, {"notes", stored.notes}, {"files", Json::object()}};
  for (const CacheField& field : stored.entry.fields) json["fields"][field.name] = field.value;
  for (const auto& [name, stamp] : stored.files) json["files"][name] = {{"bytes", stamp.bytes}, {"modified", stamp.modified}};
  return json.dump(2, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n";
}

std::error_code WriteEntryFile(const StoredEntry& stored, const fs::path& folder) {
  std::ofstream out(folder / kEntryFile, std::ios::binary);
  out << ToText(stored);
  out.close();
  return out ? std::error_code() : std::make_error_code(std::errc::io_error);
}

// Fills a new folder with an entry.
std::error_code WriteEntry(StoredEntry stored, const fs::path& bundle, const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (!error) error = ShareFolder(bundle, folder / "bundle");
  if (error) return error;
  stored.files.clear();
  for (const fs::directory_entry& file : fs::directory_iterator(folder / "bundle", error)) {
    if (const auto stamp = StampOf(file.path())) stored.files[file.path().filename().string()] = *stamp;
  }
  if (!error) error = WriteEntryFile(stored, folder);
  if (!error) error = SyncFolder(folder / "bundle");
  return error ? error : SyncFolder(folder);
}

}  // namespace

fs::path EntriesFolder(const fs::path& cache) { return cache / "entries"; }

fs::path TemporaryName(const fs::path& cache, std::string_view prefix, const std::string& key) {
  static std::atomic<unsigned> count{0};
  return EntriesFolder(cache) / StrCat(prefix, key, '-', getpid(), '-', count.fetch_add(1));
}

std::optional<StoredEntry> ReadEntryFile(const fs::path& folder) {
  std::ifstream in(folder / kEntryFile, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  const Json json = Json::parse(text, /*cb=*/nullptr, /*allow_exceptions=*/false);
  const auto is = [&](const char* name, Json::value_t type) { return json.contains(name) && json[name].type() == type; };
  if (!json.is_object() || json.value("format", Json()) != kFormat || !is("fields", Json::value_t::object) || !is("notes", Json::value_t::array) ||
      !is("files", Json::value_t::object))
    return std::nullopt;
  StoredEntry stored{.entry = {.key = {}, .fields = {}, .bundle = folder / "bundle"}, .notes = {}, .files = {}};
  for (const auto& [name, value] : json["fields"].items()) {
    if (!value.is_string()) return std::nullopt;
    stored.entry.fields.push_back({name, value.get<std::string>()});
  }
  for (const Json& note : json["notes"]) {
    if (!note.is_string()) return std::nullopt;
    stored.notes.push_back(note.get<std::string>());
  }
  for (const auto& [name, file] : json["files"].items()) {
    const Json bytes = file.is_object() ? file.value("bytes", Json()) : Json(), modified = file.is_object() ? file.value("modified", Json()) : Json();
    if (!bytes.is_number_unsigned() || !modified.is_number_integer()) return std::nullopt;
    stored.files[name] = {.bytes = bytes.get<uint64_t>(), .modified = modified.get<int64_t>()};
  }
  stored.entry.key = KeyOf(stored.entry.fields);
  return stored;
}

std::optional<StoredEntry> FindEntry(const fs::path& cache, const std::string& key) {
  const fs::path folder = EntriesFolder(cache) / key;
  std::optional<StoredEntry> stored = ReadEntryFile(folder);
  struct stat info{};
  if (!stored || stored->entry.key != key || stored->files.empty() || stat((folder / kEntryFile).c_str(), &info) != 0) return std::nullopt;
  stored->entry.last_used = info.st_mtim.tv_sec;
  for (const auto& [name, stamp] : stored->files) {
    const std::optional<FileStamp> now = StampOf(stored->entry.bundle / name);
    if (!now || now->bytes != stamp.bytes || now->modified != stamp.modified) return std::nullopt;
    stored->entry.bytes += now->bytes;
    if (now->num_links == 1) stored->entry.unshared_bytes += now->bytes;
  }
  return stored;
}

void Touch(const StoredEntry& stored) {
  const fs::path file = stored.entry.bundle.parent_path() / kEntryFile;
  (void)utimensat(AT_FDCWD, file.c_str(), /*times=*/nullptr, 0);
}

std::error_code ShareFile(const fs::path& from, const fs::path& to) {
  constexpr uint64_t kLargeBytes = 1 << 20;
  std::error_code error;
  const uint64_t bytes = fs::file_size(from, error);
  if (error) return error;
  if (bytes >= kLargeBytes && link(from.c_str(), to.c_str()) == 0) return {};
  fs::copy_file(from, to, error);
  return error;
}

std::error_code ShareFolder(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::create_directory(to, error);
  fs::directory_iterator files;
  if (!error) files = fs::directory_iterator(from, error);
  for (; !error && files != fs::directory_iterator(); files.increment(error)) {
    if (const std::error_code fault = ShareFile(files->path(), to / files->path().filename())) return fault;
  }
  return error;
}

std::error_code StoreEntry(const fs::path& cache, const StoredEntry& stored, const fs::path& bundle) {
  const std::string& key = stored.entry.key;
  const fs::path folder = TemporaryName(cache, ".new-", key);
  std::error_code error = WriteEntry(stored, bundle, folder), ignored;
  if (!error && !FindEntry(cache, key)) {
    RemoveEntry(cache, key);   // one that is damaged
    fs::rename(folder, EntriesFolder(cache) / key, error);
    if (error && FindEntry(cache, key)) error.clear();   // another process was faster
    if (!error) error = Sync(EntriesFolder(cache));
  }
  fs::remove_all(folder, ignored);
  return error;
}

void RemoveEntry(const fs::path& cache, const std::string& key) {
  const fs::path old = TemporaryName(cache, ".old-", key);
  std::error_code ignored;
  fs::rename(EntriesFolder(cache) / key, old, ignored);
  fs::remove_all(old, ignored);
}

}  // namespace intaglio::compiler
