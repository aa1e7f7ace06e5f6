// Chat messages to prompt text by the model's own Jinja template, byte for byte as Transformers' apply_chat_template renders it.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace intaglio::text {

class ChatTemplate {
 public:
  // From tokenizer_config.json (chat_template: a string, or a list with names) or chat_template.jinja beside it; nullopt if the model has none.
  // Throws Error kDataLoss when a file is malformed.
  [[nodiscard]] static std::optional<ChatTemplate> Load(const std::filesystem::path& folder, std::string_view name = "default");

  // `messages_json`: a JSON array of messages; `tools_json`: a JSON array or empty; `kwargs_json`: a JSON object of extra variables or empty;
  // `now`: ISO time for strftime_now ("2025-06-28T12:00:00"), empty: the clock.
  // Throws Error kInvalidArgument with the template's own words for raise_exception and for template faults.
  [[nodiscard]] std::string Render(std::string_view messages_json, std::string_view tools_json, bool add_generation_prompt,
                                   std::string_view kwargs_json = {}, std::string_view now = {}) const;

 private:
  std::string source_, variables_json_;  // template text; bos_token, eos_token and the like
};

}  // namespace intaglio::text
