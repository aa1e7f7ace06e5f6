#include "base/known_hashes.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <iterator>
#include <span>

#include "base/hash.h"
#include "base/strings.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;

constexpr size_t kHashDigits = 32;

bool IsHash(std::string_view text) {
  return text.size() == kHashDigits && std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

int64_t Nanoseconds(const timespec& time) { return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec; }

}  // namespace

KnownHashes::KnownHashes(const fs::path& cache) : directory_(cache.empty() ? fs::path() : cache / "hashes") {}

std::string KnownHashes::Identify(const fs::path& file) {
  constexpr int64_t kFinestTime = 100'000'000;
  struct stat info{};
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  if (stat(file.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return {};
  const int64_t modified = Nanoseconds(info.st_mtim);
  if (modified > Nanoseconds(now) - kFinestTime) return {};
  const std::string text = StrCat(info.st_dev, ' ', info.st_ino, ' ', info.st_size, ' ', modified);
  return HashHex(std::as_bytes(std::span(text)));
}

std::optional<std::string> KnownHashes::Find(const std::string& identity) const {
  if (directory_.empty() || identity.empty()) return std::nullopt;
  std::ifstream in(directory_ / identity, std::ios::binary);
  std::string hash{std::istreambuf_iterator<char>(in), {}};
  return IsHash(hash) ? std::optional(std::move(hash)) : std::nullopt;
}

void KnownHashes::Remember(const fs::path& file, const std::string& identity, std::string_view hash) const {
  if (directory_.empty() || identity.empty() || Identify(file) != identity) return;
  std::error_code ignored;
  fs::create_directories(directory_, ignored);
  const fs::path path = directory_ / identity, temporary = directory_ / StrCat(identity, ".tmp", getpid());
  std::ofstream(temporary, std::ios::binary) << hash;
  fs::rename(temporary, path, ignored);
}

}  // namespace intaglio
