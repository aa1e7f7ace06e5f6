// Export: a bundle of the same key is taken from the compile cache; any other is compiled, and kept there.
#include <iterator>
#include <span>

#include "base/fail.h"
#include "base/known_hashes.h"
#include "base/mapped_file.h"
#include "bundle/bundle.h"
#include "compiler/cache/entry.h"
#include "compiler/cache/key.h"
#include "compiler/export.h"
#include "intaglio/cache.h"
#include "intaglio/export.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;
using compiler::StoredEntry;

// Beyond it, what was used least recently goes; the new entry stays in any case.
constexpr uint64_t kMostBytes = 20'000'000'000;

bundle::Manifest ReadManifest(const fs::path& bundle) {
  const fs::path path = bundle / bundle::kManifestFile;
  const MappedFile file(path);
  return bundle::ManifestFromJson({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}, path.string());
}

// nullopt where the entry is gone before all of it was taken.
std::optional<ExportReport> Take(const ExportOptions& options, const StoredEntry& stored) {
  bundle::BundleWriter writer(options.output, options.force);
  for (const auto& [name, stamp] : stored.files) {
    const std::error_code error = compiler::ShareFile(stored.entry.bundle / name, writer.directory() / name);
    if (error == std::errc::no_such_file_or_directory) return std::nullopt;
    Require(!error, ErrorCode::kIo, options.output.string(), ": cannot write ", name, " of the cache's bundle here: ", error.message());
  }
  const bundle::Manifest manifest = ReadManifest(writer.directory());
  writer.Place();
  compiler::Touch(stored);
  ExportReport report = compiler::ReportOf(options, manifest, stored.notes);
  report.cache_key = stored.entry.key;
  report.is_from_cache = true;
  return report;
}

// The first start need not read what was hashed when it was written.
void RememberHashes(const ExportOptions& options) {
  const KnownHashes known(options.cache);
  for (const auto& [name, file] : ReadManifest(options.output).files) {
    const fs::path path = options.output / name;
    known.Remember(path, KnownHashes::Identify(path), file.hash);
  }
}

}  // namespace

ExportReport Export(const ExportOptions& options) {
  if (options.cache.empty() || options.gate) return compiler::CompileBundle(options);
  StoredEntry wanted;
  wanted.entry.fields = compiler::KeyFields(options);
  wanted.entry.key = compiler::KeyOf(wanted.entry.fields);
  if (const auto stored = compiler::FindEntry(options.cache, wanted.entry.key)) {
    if (std::optional<ExportReport> report = Take(options, *stored)) return *std::move(report);
  }
  ExportReport report = compiler::CompileBundle(options);
  report.cache_key = wanted.entry.key;
  RememberHashes(options);
  wanted.notes = report.notes;
  if (const std::error_code error = compiler::StoreEntry(options.cache, wanted, options.output)) {
    report.notes.push_back(StrCat("the bundle is not in the cache ", options.cache.string(), ": ", error.message()));
  } else {
    (void)CompileCache(options.cache).Prune({.max_bytes = kMostBytes, .keep = wanted.entry.key});
  }
  return report;
}

}  // namespace intaglio
