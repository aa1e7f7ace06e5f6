#include "bundle/bundle.h"

#include <optional>

#include "base/fail.h"
#include "base/hash.h"
#include "bundle/validate.h"

namespace intaglio::bundle {
namespace {

std::string_view Text(const MappedFile& file) { return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}; }

// Names in a manifest are file names, never paths: a bundle must not reach outside its directory.
bool IsFileName(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
}

// How files are checked.
struct Checks {
  bool hashes;
  const std::stop_token& stop;
  const KnownHashes& known;
};

// Reads the file, unless its hash is known already. What is small is read faster than looked up.
std::optional<std::string> HashOf(const std::filesystem::path& path, const MappedFile& file, const Checks& checks) {
  constexpr size_t kSmallBytes = 1 << 18;
  if (file.bytes().size() < kSmallBytes) return HashHex(file.bytes());
  const std::string identity = KnownHashes::Identify(path);
  if (std::optional<std::string> known = checks.known.Find(identity)) return known;
  std::optional<std::string> hash = HashHex(file.bytes(), checks.stop);
  if (hash) checks.known.Remember(path, identity, *hash);
  return hash;
}

// A file that the manifest lists, mapped, with its size checked and, if wanted, its hash.
MappedFile OpenListed(const std::filesystem::path& path, const FileEntry& entry, const Checks& checks) {
  std::error_code ignored;
  Require(std::filesystem::is_regular_file(path, ignored), ErrorCode::kDataLoss, path.string(),
          ": is missing from the bundle: run intaglio export again");
  MappedFile file(path);
  Require(file.bytes().size() == entry.bytes, ErrorCode::kDataLoss, path.string(), ": is ", file.bytes().size(), " bytes, the manifest says ",
          entry.bytes, ": run intaglio export again");
  if (!checks.hashes) return file;
  const std::optional<std::string> hash = HashOf(path, file, checks);
  Require(hash.has_value(), ErrorCode::kUnavailable, path.string(), ": loading was called off");
  Require(hash == entry.hash, ErrorCode::kDataLoss, path.string(),
          ": corrupted (its checksum does not match the manifest): run intaglio export again");
  return file;
}

bool IsOfARank(const std::string& name, int num_ranks) {
  for (int rank = 0; rank < num_ranks; ++rank) {
    if (name == PlanFile(rank, num_ranks) || name == WeightsFile(rank)) return true;
  }
  return false;
}

}  // namespace

std::string WeightsFile(int rank) { return StrCat("weights.rank", rank, ".bin"); }

std::string PlanFile(int rank, int num_ranks) { return num_ranks == 1 ? "plan.bin" : StrCat("plan.rank", rank, ".bin"); }

Bundle Bundle::Open(const std::filesystem::path& path, bool verify_checksums, int rank, const std::stop_token& stop, const KnownHashes& known) {
  std::error_code ignored;  // what cannot be looked at counts as absent
  const std::filesystem::path manifest_path = path / kManifestFile;
  Require(std::filesystem::is_directory(path, ignored), ErrorCode::kNotFound, path.string(),
          ": no such bundle; make it with: intaglio export CHECKPOINT ", path.string());
  Require(std::filesystem::exists(manifest_path, ignored), ErrorCode::kNotFound, path.string(), ": not a bundle (it has no ", kManifestFile,
          "); a checkpoint becomes one by: intaglio export ", path.string(), " BUNDLE");
  const MappedFile manifest_file(manifest_path);
  Bundle bundle{
      .path = path, .rank = rank, .manifest = ManifestFromJson(Text(manifest_file), manifest_path.string(), rank), .plans = {}, .weights = {}};
  const int num_ranks = bundle.manifest.tp_degree;
  const std::string plan_file = PlanFile(rank, num_ranks), weights_file = WeightsFile(rank);
  for (const auto& [name, entry] : bundle.manifest.files) {
    Require(IsFileName(name), ErrorCode::kDataLoss, manifest_path.string(), ": lists a file that is not in the bundle's directory: run intaglio ",
            "export again");
    const bool is_own = name == plan_file || name == weights_file;
    if (!is_own && (rank != 0 || IsOfARank(name, num_ranks))) continue;
    MappedFile file = OpenListed(path / name, entry, {.hashes = verify_checksums, .stop = stop, .known = known});
    if (name == plan_file) bundle.plans = ParsePlans(file.bytes(), (path / name).string());
    if (name == weights_file) bundle.weights = std::move(file);
  }
  Require(!bundle.plans.empty() && !bundle.weights.bytes().empty(), ErrorCode::kDataLoss, path.string(), ": has no plans or no weights",
          num_ranks == 1 ? "" : StrCat(" for rank ", rank), ": run intaglio export again");
  Validate(bundle);
  return bundle;
}

}  // namespace intaglio::bundle
