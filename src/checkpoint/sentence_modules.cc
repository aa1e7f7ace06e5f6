#include "checkpoint/sentence_modules.h"

#include <system_error>

#include "base/fail.h"
#include "base/mapped_file.h"
#include "checkpoint/json.h"

namespace intaglio::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostModules = 64;   // far beyond any use

std::string ReadText(const fs::path& path) {
  const MappedFile file(path);
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

std::string StringOf(const nlohmann::json& module, const char* key, const std::string& where) {
  Require(module.is_object() && module.contains(key) && module[key].is_string(), ErrorCode::kDataLoss, where, ": a module has no string \"", key,
          '"');
  return module[key].get<std::string>();
}

// Paths are folder names of ours: a list must not reach outside of its folder.
void CheckPath(const std::string& path, const std::string& where) {
  const bool is_folder_name = path != "." && path != ".." && path.find('/') == std::string::npos && path.find('\0') == std::string::npos;
  Require(is_folder_name, ErrorCode::kDataLoss, where, ": ", Quoted(path), " is not the name of a folder beside it");
}

}  // namespace

std::vector<SentenceModule> ReadSentenceModules(const fs::path& directory) {
  const fs::path list = directory / "modules.json";
  std::error_code ignored;
  if (!fs::exists(list, ignored)) return {};
  const std::string where = list.string();
  // A list at the top: an object around it makes it what ParseJsonObject takes.
  const nlohmann::json json = ParseJsonObject(StrCat("{\"modules\":", ReadText(list), "}"), where, DuplicateKeys::kLastWins);
  const nlohmann::json& entries = json["modules"];
  Require(entries.is_array() && !entries.empty() && entries.size() <= kMostModules, ErrorCode::kDataLoss, where, ": expected a list of 1 to ",
          kMostModules, " modules");
  std::vector<SentenceModule> modules;
  for (const nlohmann::json& entry : entries) {
    SentenceModule module{.type = StringOf(entry, "type", where), .path = StringOf(entry, "path", where), .config_json = "{}"};
    CheckPath(module.path, where);
    const fs::path config = directory / module.path / "config.json";   // the transformer's own, with an empty path, is Checkpoint's business
    if (!module.path.empty() && fs::exists(config, ignored)) module.config_json = ReadText(config);
    modules.push_back(std::move(module));
  }
  return modules;
}

}  // namespace intaglio::checkpoint
