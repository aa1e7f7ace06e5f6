// intaglio cache: what the compile cache has, why it lacks something, and how to move and remove entries.
#include "intaglio/cache.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/strings.h"
#include "cli/cache_directory.h"
#include "cli/commands.h"
#include "cli/export_options.h"

namespace intaglio::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFooter = R"(Examples:
  intaglio cache status                                         where it is, how many bundles, how many bytes
  intaglio cache lookup ~/models/Qwen3-0.6B --max-context 8192  would this export be a hit? Exit status 0: yes, 1: no
  intaglio cache why ~/models/Qwen3-0.6B --max-context 8192     which fields of the key differ from the nearest entry
  intaglio cache prune --older-than 30d --max-size 20GB
  intaglio cache export 3f2a qwen.entry                         to a folder; on another machine: intaglio cache import qwen.entry

Every export keeps its bundle in the cache, and takes it from there when the same is exported again: the same checkpoint, by content, the same
options, the same build of intaglio. Large files are hard links, which cost nothing while the exported bundle is there; the cache keeps at
most 20 GB, what was used last. It is a directory: INTAGLIO_CACHE, else $XDG_CACHE_HOME/intaglio, else ~/.cache/intaglio. It also
remembers which checksums were verified, so that intaglio run reads no file just for that. Deleting it is safe at any time.)";

// What all of the commands are given.
struct CacheOptions {
  std::filesystem::path directory = DefaultCacheDirectory();
  bool is_json = false;
  ExportOptions wanted;            // lookup, why
  PruneOptions prune;
  std::string key;                 // export
  std::filesystem::path folder;    // export, import
};

void Print(const Json& json) { std::puts(json.dump(2, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace).c_str()); }

const std::string& ValueOf(const std::vector<CacheField>& fields, const std::string& name) {
  static const std::string absent = "(none)";
  for (const CacheField& field : fields) {
    if (field.name == name) return field.value;
  }
  return absent;
}

Json ToJson(const std::vector<CacheField>& fields) {
  Json json = Json::object();
  for (const CacheField& field : fields) json[field.name] = field.value;
  return json;
}

Json ToJson(const CacheEntry& entry) {
  return {{"key", entry.key},
          {"bytes", entry.bytes},
          {"unshared_bytes", entry.unshared_bytes},
          {"last_used", entry.last_used},
          {"bundle", entry.bundle.string()},
          {"fields", ToJson(entry.fields)}};
}

int LookUp(const CacheOptions& options) {
  const CacheLookup lookup = CompileCache(options.directory).LookUp(options.wanted);
  if (options.is_json) {
    Json json{{"hit", lookup.entry.has_value()}, {"key", lookup.key}, {"fields", ToJson(lookup.fields)}, {"entry", nullptr}};
    if (lookup.entry) json["entry"] = ToJson(*lookup.entry);
    Print(json);
  } else if (lookup.entry) {
    std::printf("hit   %s  %s\n", lookup.key.c_str(), lookup.entry->bundle.c_str());
  } else {
    std::printf("miss  %s  (intaglio cache why says what differs)\n", lookup.key.c_str());
  }
  return lookup.entry ? 0 : 1;
}

// Names of fields that differ, of either, in their order.
std::vector<std::string> Differences(const std::vector<CacheField>& wanted, const std::vector<CacheField>& found) {
  std::vector<std::string> names;
  for (const CacheField& field : wanted) {
    if (ValueOf(found, field.name) != field.value) names.push_back(field.name);
  }
  for (const CacheField& field : found) {
    if (std::ranges::find(wanted, field.name, &CacheField::name) == wanted.end()) names.push_back(field.name);
  }
  return names;
}

int Why(const CacheOptions& options) {
  const CompileCache cache(options.directory);
  const CacheLookup lookup = cache.LookUp(options.wanted);
  const std::optional<CacheEntry> nearest = lookup.entry ? lookup.entry : cache.Nearest(lookup.fields);
  const std::vector<std::string> names = nearest ? Differences(lookup.fields, nearest->fields) : std::vector<std::string>();
  if (options.is_json) {
    Json json{{"hit", lookup.entry.has_value()}, {"key", lookup.key}, {"nearest", nullptr}, {"differs", Json::object()}};
    if (nearest) json["nearest"] = nearest->key;
    for (const std::string& name : names)
      json["differs"][name] = {{"wanted", ValueOf(lookup.fields, name)}, {"nearest", ValueOf(nearest->fields, name)}};
    Print(json);
    return 0;
  }
  if (lookup.entry) {
    std::printf("hit: %s is in the cache\n", lookup.key.c_str());
  } else if (!nearest) {
    std::printf("miss: the cache %s is empty\n", options.directory.c_str());
  } else {
    std::printf("miss: the nearest entry, %s, differs in\n", nearest->key.c_str());
    for (const std::string& name : names)
      std::printf("  %-24s wanted \"%s\", there \"%s\"\n", name.c_str(), ValueOf(lookup.fields, name).c_str(),
                  ValueOf(nearest->fields, name).c_str());
  }
  return 0;
}

std::string DayOf(int64_t seconds) {
  const std::time_t time = seconds;
  std::tm local{};
  char text[32] = {};
  if (localtime_r(&time, &local) == nullptr || std::strftime(text, sizeof text, "%Y-%m-%d %H:%M", &local) == 0) return "-";
  return text;
}

// What somebody chose: names and values that are not the defaults.
std::string OptionsOf(const CacheEntry& entry) {
  static const std::vector<CacheField> defaults = intaglio::FieldsOf(ExportOptions{});
  std::string text;
  for (const CacheField& field : entry.fields) {
    if (std::ranges::find(defaults, field.name, &CacheField::name) == defaults.end() || std::ranges::find(defaults, field) != defaults.end())
      continue;
    text += StrCat(text.empty() ? "" : ", ", field.name, ' ', field.value);
  }
  return text;
}

int List(const CacheOptions& options) {
  const std::vector<CacheEntry> entries = CompileCache(options.directory).Entries();
  if (options.is_json) {
    Json json = Json::array();
    for (const CacheEntry& entry : entries) json.push_back(ToJson(entry));
    Print(json);
    return 0;
  }
  if (!entries.empty()) std::printf("%-12s  %-16s  %10s  %s\n", "key", "last used", "size", "source, options");
  for (const CacheEntry& entry : entries) {
    const std::string chosen = OptionsOf(entry);
    std::printf("%-12s  %-16s  %10s  %s%s%s\n", entry.key.substr(0, 12).c_str(), DayOf(entry.last_used).c_str(), FormatBytes(entry.bytes).c_str(),
                ValueOf(entry.fields, "source").c_str(), chosen.empty() ? "" : ", ", chosen.c_str());
  }
  return 0;
}

int Status(const CacheOptions& options) {
  const CacheStatus status = CompileCache(options.directory).Status();
  if (options.is_json) {
    Print({{"directory", options.directory.string()},
           {"entries", status.num_entries},
           {"bytes", status.bytes},
           {"unshared_bytes", status.unshared_bytes},
           {"damaged", status.num_damaged},
           {"unfinished", status.num_unfinished},
           {"hashes", status.num_hashes}});
    return 0;
  }
  std::printf("%s\n  bundles      %8llu   %s, of which %s are shared with exported bundles\n  known files  %8llu\n", options.directory.c_str(),
              static_cast<unsigned long long>(status.num_entries), FormatBytes(status.bytes).c_str(),
              FormatBytes(status.bytes - status.unshared_bytes).c_str(), static_cast<unsigned long long>(status.num_hashes));
  if (status.num_damaged + status.num_unfinished > 0) {
    std::printf("  damaged      %8llu\n  unfinished   %8llu   intaglio cache prune removes these\n",
                static_cast<unsigned long long>(status.num_damaged), static_cast<unsigned long long>(status.num_unfinished));
  }
  return 0;
}

int Prune(const CacheOptions& options) {
  const PruneReport report = CompileCache(options.directory).Prune(options.prune);
  if (options.is_json) {
    Print({{"removed", report.num_removed}, {"bytes", report.bytes}, {"freed_bytes", report.freed_bytes}});
  } else {
    std::printf("Removed %llu bundles of %s; that freed %s.\n", static_cast<unsigned long long>(report.num_removed),
                FormatBytes(report.bytes).c_str(), FormatBytes(report.freed_bytes).c_str());
  }
  return 0;
}

int ExportEntry(const CacheOptions& options) {
  CompileCache(options.directory).ExportEntry(options.key, options.folder);
  options.is_json ? Print({{"folder", options.folder.string()}}) : void(std::printf("Wrote %s.\n", options.folder.c_str()));
  return 0;
}

int ImportEntry(const CacheOptions& options) {
  const std::string key = CompileCache(options.directory).ImportEntry(options.folder);
  options.is_json ? Print({{"key", key}}) : void(std::printf("Added %s.\n", key.c_str()));
  return 0;
}

}  // namespace

void AddCacheCommand(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand("cache", "Look into the cache of exported bundles, and clear it");
  command->footer(kFooter);
  command->require_subcommand(1);
  const auto options = std::make_shared<CacheOptions>();  // lives as long as the parser's callbacks
  const auto add = [&](const char* name, const char* description, int (*run)(const CacheOptions&)) {
    CLI::App* subcommand = command->add_subcommand(name, description);
    subcommand->add_option("--cache-dir", options->directory, "The cache's directory (default: INTAGLIO_CACHE, else ~/.cache/intaglio)");
    subcommand->add_flag("--json", options->is_json, "Print JSON");
    subcommand->callback([options, run, &chosen] { chosen = [options, run] { return run(*options); }; });
    return subcommand;
  };
  AddExportOptions(*add("lookup", "Whether an export would be taken from the cache: exit status 0 if so, else 1", LookUp), options->wanted);
  AddExportOptions(*add("why", "Which fields of an export's key differ from the nearest entry", Why), options->wanted);
  add("list", "All bundles, the last used first", List);
  add("status", "Where the cache is, and how large", Status);
  CLI::App* prune = add("prune", "Remove bundles, and always what is damaged or was left unfinished", Prune);
  prune->add_option("--older-than", options->prune.older_than, "Bundles that were not used for so long, e.g. 12h, 30d, 8w")
      ->transform(CLI::AsNumberWithUnit(std::map<std::string, int64_t>{{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}, {"w", 604800}},
                                        CLI::AsNumberWithUnit::UNIT_REQUIRED, "TIME"));
  prune->add_option("--max-size", options->prune.max_bytes, "Those used least recently, until the rest is no larger, e.g. 20GB; the last one stays")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true));
  prune->add_flag("--all", options->prune.all, "Everything");
  CLI::App* to = add("export", "Write an entry to a folder, to be imported on another machine", ExportEntry);
  to->add_option("KEY", options->key, "Its key, or the first digits")->required();
  to->add_option("FOLDER", options->folder, "The folder to make")->required();
  CLI::App* from = add("import", "Add an entry that cache export wrote, when its checksums are right", ImportEntry);
  from->add_option("FOLDER", options->folder, "The folder")->required();
}

}  // namespace intaglio::cli
