#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <ctime>

#include "tests/text/fixtures.h"
#include "text/tokenizer.h"

namespace intaglio::text {
namespace {

class ChatGolden : public testing::TestWithParam<std::string> {};

TEST_P(ChatGolden, RenderedTextsAndIdsAreThoseOfTransformers) {
  const std::filesystem::path folder = kFixtures / GetParam();
  const auto chat_template = ChatTemplate::Load(folder);
  ASSERT_TRUE(chat_template.has_value());
  const Tokenizer tokenizer = Tokenizer::Load(folder);
  const Json chat = Golden(GetParam())["chat"];
  const Json& cases = chat.is_array() ? chat : chat["cases"];
  const std::string now = chat.is_array() ? "" : chat["now"];
  ASSERT_FALSE(cases.empty());
  for (const Json& item : cases) {
    SCOPED_TRACE(item.value("name", ""));
    const Json tools = item.value("tools", Json());
    const std::string tools_json = tools.is_null() ? "" : tools.dump();
    const auto render = [&] {
      return chat_template->Render(item["messages"].dump(), tools_json, item.value("add_generation_prompt", true),
                                   item.value("kwargs", Json::object()).dump(), now);
    };
    if (item.contains("error")) {
      EXPECT_EQ(Caught(render), std::pair(ErrorCode::kInvalidArgument, item["error"].get<std::string>()));
      continue;
    }
    const std::string rendered = render();
    EXPECT_EQ(rendered, item["rendered"]);
    if (!item.contains("ids")) continue;
    EXPECT_EQ(tokenizer.Encode(rendered, /*add_special_tokens=*/false), item["ids"].get<std::vector<int32_t>>());
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, ChatGolden, testing::ValuesIn(FixturesWith("chat")), [](const auto& info) { return TestName(info.param); });

// jinja_cases.json: hundreds of expressions and statements that chat templates use, each rendered by Transformers.
TEST(ChatTemplate, JinjaAndPythonAreThoseOfTransformers) {
  std::ifstream file(INTAGLIO_SOURCE_DIR "/tests/text/jinja_cases.json");
  const Json golden = Json::parse(file);
  const TemporaryFolder folder;
  folder.Write("tokenizer_config.json", golden["special_tokens"].dump());
  ASSERT_GT(golden["cases"].size(), 400u);
  for (const Json& item : golden["cases"]) {
    SCOPED_TRACE(item["template"].get<std::string>());
    folder.Write("chat_template.jinja", item["template"].get<std::string>());
    const auto render = [&] {
      return ChatTemplate::Load(folder.path())
          ->Render(golden["messages"].dump(), golden["tools"].dump(), true, golden["kwargs"].dump(), golden["now"].get<std::string>());
    };
    if (item["rendered"].is_null()) {
      EXPECT_THROW((void)render(), Error);
    } else {
      EXPECT_EQ(render(), item["rendered"]);
    }
  }
}

constexpr const char* kMessages = R"([{"role": "user", "content": "hi"}])";

// The template of a folder that holds these files.
ChatTemplate LoadFrom(const std::vector<std::pair<const char*, std::string>>& files, std::string_view name = "default") {
  const TemporaryFolder folder;
  for (const auto& [file, text] : files) folder.Write(file, text);
  auto chat_template = ChatTemplate::Load(folder.path(), name);
  Require(chat_template.has_value(), ErrorCode::kNotFound, "no template");
  return *std::move(chat_template);
}

std::string RenderSource(const std::string& source) { return LoadFrom({{"chat_template.jinja", source}}).Render(kMessages, "", true); }

constexpr const char* kNamedTemplates = R"({"eos_token": {"content": "<e>"}, "image_token": "<i>", "pad_token": null, "add_bos_token": true,
    "chat_template": [{"name": "default", "template": "plain{{ eos_token }}{{ image_token }}{{ pad_token }}"},
                      {"name": "tool_use", "template": "tools"}, {"name": "rag", "template": "rag"}]})";

TEST(ChatTemplate, AModelWithoutTemplateHasNone) {
  EXPECT_EQ(ChatTemplate::Load(kFixtures / "tokenizer-unigram"), std::nullopt);
  EXPECT_EQ(ChatTemplate::Load(TemporaryFolder().path()), std::nullopt);
}

TEST(ChatTemplate, TokensWithNamesAreVariables) {
  EXPECT_EQ(LoadFrom({{"tokenizer_config.json", kNamedTemplates}}).Render(kMessages, "", true), "plain<e><i>");
}

TEST(ChatTemplate, ToolsChooseTheTemplateForTools) {
  const ChatTemplate chat_template = LoadFrom({{"tokenizer_config.json", kNamedTemplates}});
  EXPECT_EQ(chat_template.Render(kMessages, "[{}]", true), "tools");
  EXPECT_EQ(LoadFrom({{"tokenizer_config.json", kNamedTemplates}}, "rag").Render(kMessages, "[{}]", true), "rag");
}

TEST(ChatTemplate, AnUnknownNameIsNotFoundAndTheKnownOnesAreListed) {
  const auto [code, message] = Caught([] { (void)LoadFrom({{"tokenizer_config.json", kNamedTemplates}}, "poem"); });
  EXPECT_EQ(code, ErrorCode::kNotFound);
  EXPECT_NE(message.find("it has: default, rag, tool_use"), std::string::npos) << message;
}

TEST(ChatTemplate, TheFileOverridesTheConfig) {
  EXPECT_EQ(LoadFrom({{"tokenizer_config.json", kNamedTemplates}, {"chat_template.jinja", "file"}}).Render(kMessages, "[{}]", true), "file");
}

TEST(ChatTemplate, WithoutDescribedTokensTheSpecialTokensMapOverridesTheConfig) {
  const std::string map = R"({"bos_token": "<map>"})";
  EXPECT_EQ(
      LoadFrom(
          {{"tokenizer_config.json", R"({"bos_token": "<config>"})"}, {"special_tokens_map.json", map}, {"chat_template.jinja", "{{ bos_token }}"}})
          .Render(kMessages, "", true),
      "<map>");
  EXPECT_EQ(LoadFrom({{"tokenizer_config.json", R"({"bos_token": "<config>", "added_tokens_decoder": {}})"},
                      {"special_tokens_map.json", map},
                      {"chat_template.jinja", "{{ bos_token }}"}})
                .Render(kMessages, "", true),
            "<config>");
}

TEST(ChatTemplate, TheCallersVariablesOverrideTheTokenizersButNotTheChat) {
  const ChatTemplate chat_template =
      LoadFrom({{"tokenizer_config.json", R"({"eos_token": "<e>"})"}, {"chat_template.jinja", "{{ eos_token }}{{ messages|length }}"}});
  EXPECT_EQ(chat_template.Render(kMessages, "", true, R"({"eos_token": "E", "messages": []})"), "E1");
}

TEST(ChatTemplate, AnExceptionHasTheTemplatesOwnWords) {
  EXPECT_EQ(Caught([] { (void)RenderSource("{% macro f() %}{{ raise_exception('No \"such\" role!') }}{% endmacro %}{{ f() }}"); }),
            std::pair(ErrorCode::kInvalidArgument, std::string("No \"such\" role!")));
}

TEST(ChatTemplate, ASyntaxErrorNamesTheLine) {
  const auto [code, message] = Caught([] { (void)RenderSource("a\nb\n{% if %}"); });
  EXPECT_EQ(code, ErrorCode::kDataLoss);
  EXPECT_NE(message.find("chat_template:3"), std::string::npos) << message;
}

TEST(ChatTemplate, TheClockIsReadWhenNoTimeIsGiven) {
  const std::time_t before = std::time(nullptr);
  const int year = std::stoi(RenderSource("{{ strftime_now('%Y') }}"));
  const std::time_t after = std::time(nullptr);
  EXPECT_GE(year, std::localtime(&before)->tm_year + 1900);
  EXPECT_LE(year, std::localtime(&after)->tm_year + 1900);
}

TEST(ChatTemplate, TemplatesThatDoNotEndAreStopped) {
  const std::string loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}";
  const std::string doubling = "{% set ns = namespace(x='aaaaaaaa') %}{% for a in range(64) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}";
  const std::string doubled_list =
      "{% set ns = namespace(x=[1]) %}{% for a in range(64) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}{{ ns.x|tojson }}";
  for (const std::string& source : {loop, doubling, doubled_list, std::string("{{ 'a'.ljust(9999999999999) }}")}) {
    const auto [code, message] = Caught([&] { (void)RenderSource(source); });
    EXPECT_EQ(code, ErrorCode::kInvalidArgument) << source;
    EXPECT_NE(message.find("does not end"), std::string::npos) << source << ": " << message;
  }
}

TEST(ChatTemplate, DeepExpressionsAndValuesNeedNoStackOfTheCaller) {
  EXPECT_EQ(RenderSource("{{ " + std::string(100'000, '-') + "1 }}"), "1");
  EXPECT_EQ(RenderSource("{% set ns = namespace(x=[]) %}{% for a in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}ok"), "ok");
  EXPECT_THROW((void)RenderSource("{% set ns = namespace(x=[]) %}{% for a in range(999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}"), Error);
  EXPECT_THROW((void)RenderSource("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), Error);
}

TEST(ChatTemplate, BadRequestsAreInvalidArguments) {
  const ChatTemplate chat_template = LoadFrom({{"chat_template.jinja", "x"}});
  const auto code = [&](const char* messages, const char* tools, const char* kwargs, const char* now) {
    return Caught([&] { (void)chat_template.Render(messages, tools, true, kwargs, now); }).first;
  };
  for (const char* messages : {"", "{", "{}", "[]", "[1]", "null", "\xff", R"(["a"])"})
    EXPECT_EQ(code(messages, "", "", ""), ErrorCode::kInvalidArgument) << messages;
  for (const char* tools : {"{", "{}", "3"}) EXPECT_EQ(code(kMessages, tools, "", ""), ErrorCode::kInvalidArgument) << tools;
  for (const char* kwargs : {"{", "[]", "3"}) EXPECT_EQ(code(kMessages, "", kwargs, ""), ErrorCode::kInvalidArgument) << kwargs;
  EXPECT_EQ(code(kMessages, "", "", "yesterday"), ErrorCode::kInvalidArgument);
  EXPECT_EQ(Caught([&] { (void)chat_template.Render(std::string(100'000, '['), "", true); }).first, ErrorCode::kInvalidArgument);
}

TEST(ChatTemplate, MalformedFilesAreDataLoss) {
  for (const char* config : {"{", "[]", R"({"chat_template": 3})", R"({"chat_template": ["a"]})", R"({"chat_template": [{"name": "default"}]})"}) {
    EXPECT_EQ(Caught([&] { (void)LoadFrom({{"tokenizer_config.json", config}}); }).first, ErrorCode::kDataLoss) << config;
  }
  EXPECT_EQ(Caught([&] { (void)RenderSource(std::string(200'000, 'x')); }).first, ErrorCode::kDataLoss);
}

}  // namespace
}  // namespace intaglio::text
