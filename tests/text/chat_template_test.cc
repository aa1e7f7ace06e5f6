#include "text/chat_template.h"

#include <gtest/gtest.h>

#include "base/fail.h"
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
      return chat_template->Render(item["messages"].dump(), tools_json, item.value("add_generation_prompt", true), item.value("kwargs", Json::object()).dump(), now);
    };
    if (item.contains("error")) {
      try {
        ADD_FAILURE() << "rendered " << render();
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
        EXPECT_EQ(error.what(), item["error"].get<std::string>());
      }
      continue;
    }
    const std::string rendered = render();
    EXPECT_EQ(rendered, item["rendered"]);
    if (!item.contains("ids")) continue;
    EXPECT_EQ(tokenizer.Encode(rendered, /*add_special_tokens=*/false), item["ids"].get<std::vector<int32_t>>());
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, ChatGolden, testing::ValuesIn(FixturesWith("chat")), [](const auto& info) { return TestName(info.param); });

}  // namespace
}  // namespace intaglio::text
