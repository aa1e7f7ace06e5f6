// Chat messages to prompt text by the model's own Jinja template, byte for byte as Transformers' apply_chat_template renders it.
// Immutable, safe from any thread.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace intaglio::text {

class ChatTemplate {
 public:
  // From chat_template.jinja (and chat_templates/NAME.jinja) beside tokenizer_config.json, else from its chat_template (a string, or a
  // list with names); nullopt if the model has no template at all. As in Transformers, "default" also stands for the template
  // "tool_use", if there is one, in chats with tools.
  // Throws Error kDataLoss when a file is malformed, kNotFound when there are templates but none of that name.
  [[nodiscard]] static std::optional<ChatTemplate> Load(const std::filesystem::path& folder, std::string_view name = "default");

  // `messages_json`: a JSON array of messages; `tools_json`: a JSON array or empty; `kwargs_json`: a JSON object of extra variables or empty;
  // `now`: ISO time for strftime_now ("2025-06-28T12:00:00"), empty: the clock.
  // Throws Error kInvalidArgument with the template's own words for raise_exception and for template faults, kDataLoss for syntax errors.
  [[nodiscard]] std::string Render(std::string_view messages_json, std::string_view tools_json, bool add_generation_prompt,
                                   std::string_view kwargs_json = {}, std::string_view now = {}) const;

 private:
  std::string source_, tool_source_, variables_json_;  // templates without and with tools; bos_token, eos_token and the like
};

}  // namespace intaglio::text
