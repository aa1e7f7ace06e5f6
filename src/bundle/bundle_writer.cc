#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/fail.h"
#include "base/hash.h"
#include "bundle/bundle.h"

namespace intaglio::bundle {
namespace {

namespace fs = std::filesystem;

// Only a bundle or an empty directory may be replaced, and only when asked to.
void CheckTarget(const fs::path& path, bool force) {
  if (!fs::exists(path)) return;
  const bool is_empty = fs::is_directory(path) && fs::is_empty(path);
  const bool is_bundle = fs::exists(path / kManifestFile);
  Require(is_empty || is_bundle, ErrorCode::kInvalidArgument, path.string(), ": exists and is no bundle; choose another place");
  Require(is_empty || force, ErrorCode::kInvalidArgument, path.string(), ": a bundle is already there; --force replaces it");
}

}  // namespace

struct BundleWriter::Impl {
  fs::path target, directory;
  bool force = false, is_committed = false;
};

BundleWriter::BundleWriter(fs::path path, bool force) : impl_(std::make_unique<Impl>()) {
  path = path.lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  CheckTarget(path, force);
  impl_->target = path;
  impl_->force = force;
  impl_->directory = path;
  impl_->directory += StrCat(".tmp", getpid());
  std::error_code error;
  if (path.has_parent_path()) fs::create_directories(path.parent_path(), error);
  if (!error) fs::remove_all(impl_->directory, error);
  if (!error) fs::create_directory(impl_->directory, error);
  Require(!error, ErrorCode::kIo, path.string(), ": cannot write here: ", error.message());
}

BundleWriter::~BundleWriter() {
  if (impl_->is_committed) return;
  std::error_code ignored;
  fs::remove_all(impl_->directory, ignored);
}

const fs::path& BundleWriter::directory() const { return impl_->directory; }

void BundleWriter::AddFile(std::string_view name, std::span<const std::byte> bytes) {
  OutputFile file(impl_->directory / name);
  file.Write(bytes);
  file.Commit();
}

void BundleWriter::Commit(Manifest manifest) {
  for (const fs::directory_entry& entry : fs::directory_iterator(impl_->directory)) {
    const MappedFile file(entry.path());
    manifest.files[entry.path().filename().string()] = {.bytes = file.bytes().size(), .hash = HashHex(file.bytes())};
  }
  const std::string json = ToJson(manifest);
  AddFile(kManifestFile, std::as_bytes(std::span(json)));
  CheckTarget(impl_->target, impl_->force);
  // A directory cannot be replaced in one step: the old one steps aside first, and goes only when the new one is in place.
  fs::path old = impl_->directory;
  old += ".old";
  std::error_code error;
  const bool has_old = fs::exists(impl_->target);
  if (has_old) fs::rename(impl_->target, old, error);
  if (!error) {
    fs::rename(impl_->directory, impl_->target, error);
    if (error && has_old) fs::rename(old, impl_->target);
  }
  Require(!error, ErrorCode::kIo, impl_->target.string(), ": cannot put the bundle in place: ", error.message());
  impl_->is_committed = true;
  std::error_code ignored;
  if (has_old) fs::remove_all(old, ignored);
}

}  // namespace intaglio::bundle
