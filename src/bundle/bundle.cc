#include "bundle/bundle.h"

#include "base/fail.h"
#include "base/hash.h"
#include "bundle/validate.h"

namespace intaglio::bundle {
namespace {

std::string_view Text(const MappedFile& file) { return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}; }

// A file that the manifest lists, mapped, with its size checked and, if wanted, its hash.
MappedFile OpenListed(const std::filesystem::path& directory, const std::string& name, const Manifest& manifest, bool verify_checksums) {
  const auto entry = manifest.files.find(name);
  Require(entry != manifest.files.end(), ErrorCode::kDataLoss, (directory / kManifestFile).string(), ": lists no ", name,
          ": run intaglio export again");
  MappedFile file(directory / name);
  Require(file.bytes().size() == entry->second.bytes, ErrorCode::kDataLoss, (directory / name).string(), ": is ", file.bytes().size(),
          " bytes, the manifest says ", entry->second.bytes, ": run intaglio export again");
  Require(!verify_checksums || HashHex(file.bytes()) == entry->second.hash, ErrorCode::kDataLoss, (directory / name).string(),
          ": corrupted (its checksum does not match the manifest): run intaglio export again");
  return file;
}

}  // namespace

std::string WeightsFile(int rank) { return StrCat("weights.rank", rank, ".bin"); }

Bundle Bundle::Open(const std::filesystem::path& path, bool verify_checksums) {
  Require(std::filesystem::is_directory(path), ErrorCode::kNotFound, path.string(), ": no such bundle; make it with: intaglio export CHECKPOINT ",
          path.string());
  Require(std::filesystem::exists(path / kManifestFile), ErrorCode::kNotFound, path.string(), ": not a bundle (it has no ", kManifestFile,
          "); a checkpoint becomes one by: intaglio export ", path.string(), " BUNDLE");
  Bundle bundle{.path = path,
                .manifest = ManifestFromJson(Text(MappedFile(path / kManifestFile)), (path / kManifestFile).string()),
                .plans = {},
                .weights = {}};
  const std::string weights_name = WeightsFile(0);
  for (const auto& [name, unused] : bundle.manifest.files) {
    Require(std::filesystem::path(name).filename() == name, ErrorCode::kDataLoss, (path / kManifestFile).string(), ": \"", name,
            "\" is not a plain file name");
    MappedFile file = OpenListed(path, name, bundle.manifest, verify_checksums);
    if (name == kPlanFile) bundle.plans = ParsePlans(file.bytes(), (path / name).string());
    if (name == weights_name) bundle.weights = std::move(file);
  }
  Require(!bundle.plans.empty() && !bundle.weights.bytes().empty(), ErrorCode::kDataLoss, path.string(),
          ": has no plans or no weights: run intaglio export again");
  Validate(bundle);
  return bundle;
}

}  // namespace intaglio::bundle
