#include "parity/golden.h"

#include <cstring>
#include <nlohmann/json.hpp>

#include "base/fail.h"
#include "base/mapped_file.h"

namespace intaglio::parity {
namespace {

using Json = nlohmann::ordered_json;

std::string DumpOrEmpty(const Json& object, const char* key) {
  return object.contains(key) && !object[key].is_null() ? object[key].dump() : std::string();
}

GoldenPrompt ParsePrompt(const Json& json) {
  GoldenPrompt prompt{.input_ids = json.at("input_ids"), .greedy_ids = json.at("greedy_ids"), .margins = json.at("margins"), .top_logprobs = {}};
  for (const Json& step : json.value("top5_logprobs_first8", Json::array())) prompt.top_logprobs.push_back(step);
  return prompt;
}

GoldenText ParseText(const Json& json) {
  return {.text = json.at("text"),
          .decode = json.at("decode"),
          .decode_skip_special = json.at("decode_skip_special"),
          .ids = json.at("ids"),
          .ids_no_special = json.at("ids_no_special")};
}

GoldenChat ParseChat(const Json& json) {
  return {.name = json.at("name"),
          .messages_json = json.at("messages").dump(),
          .tools_json = DumpOrEmpty(json, "tools"),
          .kwargs_json = DumpOrEmpty(json, "kwargs"),
          .rendered = json.value("rendered", ""),
          .add_generation_prompt = json.value("add_generation_prompt", false),
          .is_error = json.contains("error")};
}

// "p1" -> 1.
size_t ParseProbedPrompt(const std::string& name, size_t num_prompts, const std::filesystem::path& path) {
  for (size_t i = 0; i < num_prompts; ++i) {
    if (name == StrCat('p', i)) return i;
  }
  Fail(ErrorCode::kDataLoss, path.string(), ": \"probed_prompt\" is \"", name, "\", but there are ", num_prompts, " prompts, from p0 on");
}

}  // namespace

bool IsExactFor(const Golden& golden, std::string_view weight_dtype) {
  return golden.compute_dtype == "float32" && (weight_dtype == "f32" || (weight_dtype == "bf16" && golden.stored_dtype == "bfloat16"));
}

std::filesystem::path WithoutSlash(const std::filesystem::path& folder) {
  const std::filesystem::path normal = folder.lexically_normal();
  return normal.has_filename() ? normal : normal.parent_path();
}

Golden ReadGolden(const std::filesystem::path& fixture) {
  const std::filesystem::path path = fixture / "golden.json";
  Require(std::filesystem::exists(path), ErrorCode::kNotFound, fixture.string(),
          ": has no golden.json, so it is neither a fixture nor a capture; make one with: python -m intaglio.parity.capture MODEL_DIR ",
          fixture.string());
  const MappedFile file(path);
  try {
    const Json json =
        Json::parse(reinterpret_cast<const char*>(file.bytes().data()), reinterpret_cast<const char*>(file.bytes().data() + file.bytes().size()));
    const bool is_embedder = json.is_object() && json.contains("pooling") && json.contains("texts");
    Require(is_embedder || (json.is_object() && json.contains("model_type") && json.contains("prompts")), ErrorCode::kInvalidArgument, path.string(),
            ": not the golden file of a decoder (no model_type and prompts) or an embedder (no pooling and texts)");
    Golden golden{.model_type = json.value("model_type", ""),
                  .stored_dtype = json.value("stored_dtype", "float32"),
                  .compute_dtype = json.value("compute_dtype", "float32"),
                  .chat_now = {},
                  .prompts = {},
                  .texts = {},
                  .chats = {}};
    if (is_embedder) {
      for (const Json& text : json.at("texts")) golden.embeddings.push_back({.text = text.at("text"), .input_ids = text.at("input_ids")});
    }
    for (const Json& prompt : json.value("prompts", Json::array())) golden.prompts.push_back(ParsePrompt(prompt));
    if (!is_embedder) golden.probed_prompt = ParseProbedPrompt(json.value("probed_prompt", "p1"), golden.prompts.size(), path);
    for (const Json& text : json.value("tokenizer", Json::array())) golden.texts.push_back(ParseText(text));
    if (json.contains("chat")) {
      golden.chat_now = json["chat"].value("now", "");
      for (const Json& chat : json["chat"].at("cases")) golden.chats.push_back(ParseChat(chat));
    }
    return golden;
  } catch (const Json::exception& error) { Fail(ErrorCode::kDataLoss, path.string(), ": ", error.what()); }
}

std::vector<float> ToF32(const checkpoint::SafetensorsFile& file, const std::string& name) {
  const TensorView& tensor = file.tensor(name);
  Require(tensor.dtype == DType::kF32, ErrorCode::kDataLoss, "golden tensor ", name, " is ", tensor.dtype, ", expected f32");
  std::vector<float> values(tensor.bytes.size() / sizeof(float));
  std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

}  // namespace intaglio::parity
