#include "compiler/cache/key.h"

#include <link.h>

#include <filesystem>
#include <span>

#include "base/hash.h"
#include "base/known_hashes.h"
#include "base/strings.h"
#include "checkpoint/checkpoint.h"
#include "compiler/export.h"

namespace intaglio::compiler {
namespace {

namespace fs = std::filesystem;

// The file that this code was loaded from: the program, or a shared library.
fs::path OwnFile() {
  struct Search {
    uintptr_t address;
    fs::path file;
  } search{.address = reinterpret_cast<uintptr_t>(&OwnFile), .file = {}};
  const auto look = [](dl_phdr_info* object, size_t, void* data) {
    auto& s = *static_cast<Search*>(data);
    for (int i = 0; i < object->dlpi_phnum; ++i) {
      const auto& segment = object->dlpi_phdr[i];
      const bool is_here = segment.p_type == PT_LOAD && s.address - object->dlpi_addr - segment.p_vaddr < segment.p_memsz;
      if (is_here) s.file = *object->dlpi_name == '\0' ? "/proc/self/exe" : object->dlpi_name;
    }
    return 0;
  };
  dl_iterate_phdr(look, &search);
  return search.file;
}

// Reads the file, unless its hash is known. `done` and `total` are bytes of all files.
std::string HashOnce(const fs::path& file, const KnownHashes& known, const std::function<void(uint64_t)>& on_bytes) {
  const std::string identity = KnownHashes::Identify(file);
  if (std::optional<std::string> hash = known.Find(identity)) return *hash;
  std::string hash = HashFile(file, on_bytes);
  known.Remember(file, identity, hash);
  return hash;
}

void AddFiles(const ExportOptions& options, std::vector<CacheField>& fields) {
  const KnownHashes known(options.cache);
  const std::vector<fs::path> files = checkpoint::Checkpoint::FilesOf(options.source);
  const fs::path folder = fs::is_directory(options.source) ? options.source : options.source.parent_path();
  uint64_t total = 0, done = 0;
  for (const fs::path& file : files) total += fs::file_size(file);
  for (const fs::path& file : files) {
    const auto on_bytes = [&](uint64_t bytes) {
      if (options.on_progress) options.on_progress({.stage = "reading the checkpoint", .done = done + bytes, .total = total});
    };
    fields.push_back({"file " + file.lexically_relative(folder).string(), HashOnce(file, known, on_bytes)});
    done += fs::file_size(file);
  }
}

}  // namespace

std::vector<CacheField> KeyFields(const ExportOptions& options) {
  std::vector<CacheField> fields{{"compiler", StrCat(INTAGLIO_VERSION, ' ', HashOnce(OwnFile(), KnownHashes(options.cache), {}))},
                                 {"source", SourceName(options.source)}};
  AddFiles(options, fields);
  const std::vector<CacheField> chosen = FieldsOf(options);
  fields.insert(fields.end(), chosen.begin(), chosen.end());
  return fields;
}

std::string KeyOf(const std::vector<CacheField>& fields) {
  std::string text;   // lengths first: no value can look like another field
  for (const CacheField& field : fields) text += StrCat(field.name.size(), ' ', field.value.size(), ' ', field.name, field.value, '\n');
  return HashHex(std::as_bytes(std::span(text)));
}

}  // namespace intaglio::compiler

namespace intaglio {

std::vector<CacheField> FieldsOf(const ExportOptions& options) {
  // Names every member: a compiler refuses this where one was added, until somebody says whether it changes a bundle's bytes. Those that do not
  // have no other use here.
  [[maybe_unused]] const auto& [source, output, task, weights, group, keep, dequantize, kv_dtype, max_context, max_batch, prefill_buckets,
                                batch_buckets, capacity_factor, tp_degree, ep_degree, expert_dispatch, speculation, force, keep_probes, gate, cache,
                                on_progress] = options;
  return {{"task", task},
          {"weights", weights},
          {"group", StrCat(group)},
          {"keep", Join(keep)},
          {"dequantize", StrCat(dequantize)},
          {"kv_dtype", kv_dtype},
          {"max_context", StrCat(max_context)},
          {"max_batch", StrCat(max_batch)},
          {"prefill_buckets", Join(prefill_buckets)},
          {"batch_buckets", Join(batch_buckets)},
          {"capacity_factor", Exact(capacity_factor)},
          {"tp_degree", StrCat(tp_degree)},
          {"ep_degree", StrCat(ep_degree)},
          {"expert_dispatch", expert_dispatch},
          {"speculation", StrCat(speculation)},
          {"keep_probes", StrCat(keep_probes)}};
}

}  // namespace intaglio
