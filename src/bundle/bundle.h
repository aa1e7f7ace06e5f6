// A bundle directory, opened: manifest, plans and mapped weights, all checked; and a writer that leaves a whole bundle or nothing.
#pragma once
#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/known_hashes.h"
#include "base/mapped_file.h"
#include "base/output_file.h"
#include "bundle/manifest.h"
#include "bundle/plan.h"

namespace intaglio::bundle {

inline constexpr std::string_view kManifestFile = "manifest.json", kGraphFile = "graph.txt";
// "weights.rank<r>.bin"
[[nodiscard]] std::string WeightsFile(int rank);
// "plan.bin", and of a bundle for several ranks "plan.rank<r>.bin"
[[nodiscard]] std::string PlanFile(int rank, int num_ranks);

// As one of its ranks sees it.
struct Bundle {
  std::filesystem::path path;
  int rank = 0;
  Manifest manifest;
  std::vector<Plan> plans;
  MappedFile weights;

  // Throws Error: kNotFound (no such directory or file; what `intaglio export` would make it), kDataLoss (truncated, contradictory,
  // checksum), kUnsupported (version), kInvalidArgument (no such rank), kUnavailable (somebody asks to stop). Sizes, offsets and operand
  // ranges are always checked; `verify_checksums` also hashes every file of this rank, and those of no rank where it is rank 0, but for those
  // whose hash is among `known`, to which it adds the others.
  [[nodiscard]] static Bundle Open(const std::filesystem::path& path, bool verify_checksums = true, int rank = 0, const std::stop_token& stop = {},
                                   const KnownHashes& known = {});
};

// Collects files in `<path>.tmp<pid>` beside the target and renames the directory on Commit. An existing target is an Error
// kInvalidArgument unless `force`; it is replaced only at Commit, in one step where the file system can exchange two names, and only if
// it is itself a bundle or an empty directory.
class BundleWriter {
 public:
  BundleWriter(const std::filesystem::path& path, bool force);
  ~BundleWriter();  // removes everything if Commit() did not run, the directories above the target that it made too
  BundleWriter(const BundleWriter&) = delete;
  BundleWriter& operator=(const BundleWriter&) = delete;

  [[nodiscard]] const std::filesystem::path& directory() const;  // where files go until Commit
  void AddFile(std::string_view name, std::span<const std::byte> bytes);
  // Hashes all files but the manifest into manifest.files, writes the manifest and renames. `gate`, where there is one, gets the directory
  // when all is written but not yet in place; what it returns goes into the manifest, what it throws leaves nothing.
  using Gate = std::function<ParityGate(const std::filesystem::path& bundle)>;
  void Commit(Manifest manifest, const Gate& gate = {});
  // The directory has all files of a bundle, its manifest too: renames it, as Commit does in the end.
  void Place();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace intaglio::bundle
