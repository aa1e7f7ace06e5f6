#include "text/chat_template.h"

#include <map>
#include <nlohmann/json.hpp>

#include "base/mapped_file.h"
#include "text/rust_abi.h"

namespace intaglio::text {
namespace {

using Json = nlohmann::json;
using Templates = std::map<std::string, std::string, std::less<>>;  // name to source

std::string ReadText(const std::filesystem::path& path) {
  const MappedFile file(path);
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

// Empty if there is no such file.
std::string ReadTextIfPresent(const std::filesystem::path& path) { return std::filesystem::exists(path) ? ReadText(path) : std::string(); }

Json ParseObject(std::string_view text, const std::filesystem::path& path) {
  if (text.empty()) return Json::object();
  Json object;
  try {
    object = Json::parse(text);
  } catch (const Json::exception& error) { Fail(ErrorCode::kDataLoss, path.string(), " is malformed: ", error.what()); }
  Require(object.is_object(), ErrorCode::kDataLoss, path.string(), " is not a JSON object");
  return object;
}

// Template files win over the config's own templates, all or nothing.
Templates FromFiles(const std::filesystem::path& folder) {
  Templates templates;
  if (std::filesystem::exists(folder / "chat_template.jinja")) templates["default"] = ReadText(folder / "chat_template.jinja");
  if (!std::filesystem::is_directory(folder / "chat_templates")) return templates;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "chat_templates")) {
    if (entry.path().extension() == ".jinja") templates[entry.path().stem().string()] = ReadText(entry.path());
  }
  return templates;
}

Templates FromConfig(const Json& config, const std::filesystem::path& path) {
  const Json value = config.value("chat_template", Json());
  if (value.is_null()) return {};
  if (value.is_string()) return {{"default", value.get<std::string>()}};
  Require(value.is_array(), ErrorCode::kDataLoss, path.string(), ": chat_template is neither a string nor a list of named templates");
  Templates templates;
  for (const Json& item : value) {
    const bool is_named =
        item.is_object() && item.contains("name") && item["name"].is_string() && item.contains("template") && item["template"].is_string();
    Require(is_named, ErrorCode::kDataLoss, path.string(), ": an item of chat_template lacks the strings \"name\" and \"template\"");
    templates[item["name"].get<std::string>()] = item["template"].get<std::string>();
  }
  return templates;
}

}  // namespace

std::optional<ChatTemplate> ChatTemplate::Load(const std::filesystem::path& folder, std::string_view name) {
  const std::filesystem::path config_path = folder / "tokenizer_config.json";
  const std::string config = ReadTextIfPresent(config_path);
  Templates templates = FromFiles(folder);
  if (templates.empty()) templates = FromConfig(ParseObject(config, config_path), config_path);
  if (templates.empty()) return std::nullopt;

  const auto found = templates.find(name);
  if (found == templates.end()) {
    std::string names;
    for (const auto& [known, source] : templates) names += (names.empty() ? "" : ", ") + known;
    Fail(ErrorCode::kNotFound, folder.string(), " has no chat template named \"", name, "\"; it has: ", names);
  }
  const auto with_tools = name == "default" ? templates.find("tool_use") : templates.end();

  const std::string special_tokens_map = ReadTextIfPresent(folder / "special_tokens_map.json");
  rust::Buffer variables;
  rust::Check(rust::intaglio_special_tokens(config, special_tokens_map, variables.out()), variables, folder.string());

  ChatTemplate result;
  result.source_ = found->second;
  result.tool_source_ = (with_tools == templates.end() ? found : with_tools)->second;
  result.variables_json_ = variables.view();
  return result;
}

std::string ChatTemplate::Render(std::string_view messages_json, std::string_view tools_json, bool add_generation_prompt,
                                 std::string_view kwargs_json, std::string_view now) const {
  const bool has_tools = !tools_json.empty() && tools_json != "null";
  const rust::ChatRequest request{.chat_template = has_tools ? tool_source_ : source_,
                                  .variables = variables_json_,
                                  .messages = messages_json,
                                  .tools = tools_json,
                                  .kwargs = kwargs_json,
                                  .now = now,
                                  .add_generation_prompt = add_generation_prompt};
  rust::Buffer result;
  rust::Check(rust::intaglio_chat_render(&request, result.out()), result);
  return std::string(result.view());
}

}  // namespace intaglio::text
