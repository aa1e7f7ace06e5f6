#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/fail.h"
#include "base/hash.h"
#include "bundle/bundle.h"

namespace intaglio::bundle {
namespace {

namespace fs = std::filesystem;

// What cannot be looked at counts as absent; writing there says why.
bool Exists(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// Only a bundle or an empty directory may be replaced, and a bundle only when asked to.
void CheckTarget(const fs::path& path, bool force) {
  if (!Exists(path)) return;
  std::error_code ignored;
  const bool is_empty = fs::is_directory(path, ignored) && fs::is_empty(path, ignored);
  const bool is_bundle = Exists(path / kManifestFile) && (Exists(path / PlanFile(0, 1)) || Exists(path / PlanFile(0, 2)));
  Require(is_empty || is_bundle, ErrorCode::kInvalidArgument, path.string(), ": exists and is no bundle; choose another place");
  Require(is_empty || force, ErrorCode::kInvalidArgument, path.string(), ": a bundle is already there; --force replaces it");
}

// Where `path` leads when links are followed, so that what is written beside it is on the same file system.
fs::path Resolve(const fs::path& path) {
  Require(!path.empty(), ErrorCode::kInvalidArgument, "export: the output directory has no name");
  std::error_code error;
  fs::path resolved = fs::weakly_canonical(fs::absolute(path), error);
  Require(!error, ErrorCode::kIo, path.string(), ": cannot write here: ", error.message());
  return resolved.has_filename() ? resolved : resolved.parent_path();
}

// The ancestors of `path` that do not exist yet, outermost first.
std::vector<fs::path> MissingParents(const fs::path& path) {
  std::vector<fs::path> missing;
  for (fs::path parent = path.parent_path(); !parent.empty() && !Exists(parent); parent = parent.parent_path()) {
    missing.insert(missing.begin(), parent);
  }
  return missing;
}

// Puts `fresh` where `target` is; what was there ends up at `fresh`'s old place. One step where the file system can exchange two names,
// else several, and a crash between them may leave no target. Returns errno, 0 for success.
int PutInPlace(const fs::path& fresh, const fs::path& target) {
  if (!Exists(target)) return std::rename(fresh.c_str(), target.c_str()) == 0 ? 0 : errno;
  if (renameat2(AT_FDCWD, fresh.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return errno;
  fs::path aside = fresh;
  aside += ".old";
  if (std::rename(target.c_str(), aside.c_str()) != 0) return errno;
  if (std::rename(fresh.c_str(), target.c_str()) != 0) {
    const int error = errno;
    (void)std::rename(aside.c_str(), target.c_str());
    return error;
  }
  return std::rename(aside.c_str(), fresh.c_str()) == 0 ? 0 : errno;
}

}  // namespace

struct BundleWriter::Impl {
  fs::path target, directory;
  std::vector<fs::path> made_parents;   // outermost first
  bool force = false, is_committed = false;

  ~Impl() {
    std::error_code ignored;
    fs::remove_all(directory, ignored);   // after Commit: the bundle that was replaced, if any
    if (is_committed) return;
    for (auto parent = made_parents.rbegin(); parent != made_parents.rend(); ++parent) fs::remove(*parent, ignored);
  }
};

BundleWriter::BundleWriter(const fs::path& path, bool force) : impl_(std::make_unique<Impl>()) {
  impl_->target = Resolve(path);
  impl_->force = force;
  CheckTarget(impl_->target, force);
  impl_->made_parents = MissingParents(impl_->target);
  impl_->directory = impl_->target;
  impl_->directory += StrCat(".tmp", getpid());
  std::error_code error;
  for (const fs::path& parent : impl_->made_parents) {
    if (!error) fs::create_directory(parent, error);
  }
  if (!error) fs::remove_all(impl_->directory, error);
  if (!error) fs::create_directory(impl_->directory, error);
  Require(!error, ErrorCode::kIo, path.string(), ": cannot write here: ", error.message());
}

BundleWriter::~BundleWriter() = default;

const fs::path& BundleWriter::directory() const { return impl_->directory; }

void BundleWriter::AddFile(std::string_view name, std::span<const std::byte> bytes) {
  OutputFile file(impl_->directory / name);
  file.Write(bytes);
  file.Commit();
}

void BundleWriter::Commit(Manifest manifest, const Gate& gate) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(impl_->directory, error)) {
    manifest.files[entry.path().filename().string()] = {.bytes = entry.file_size(), .hash = HashFile(entry.path())};
  }
  Require(!error, ErrorCode::kIo, impl_->directory.string(), ": cannot read what was written: ", error.message());
  const auto write = [&] {
    const std::string json = ToJson(manifest);
    AddFile(kManifestFile, std::as_bytes(std::span(json)));
  };
  write();
  if (gate) {
    manifest.parity = gate(impl_->directory);
    write();
  }
  Place();
}

void BundleWriter::Place() {
  CheckTarget(impl_->target, impl_->force);
  const int fault = PutInPlace(impl_->directory, impl_->target);
  Require(fault == 0, ErrorCode::kIo, impl_->target.string(), ": cannot put the bundle in place: ", std::strerror(fault));
  impl_->is_committed = true;
}

}  // namespace intaglio::bundle
