#include "parity/text_checks.h"

#include "base/fail.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace intaglio::parity {
namespace {

// Counts mismatches and remembers the first.
class Tally {
 public:
  explicit Tally(std::string name) { check_.name = std::move(name); }
  void Expect(bool is_equal, const std::string& what) {
    ++count_;
    if (is_equal) return;
    if (check_.worst == 0) check_.where = what;
    check_.worst += 1;
  }
  [[nodiscard]] ParityCheck Finish() {
    check_.is_ok = check_.worst == 0;
    if (check_.is_ok) check_.where = StrCat(count_, " cases");
    return check_;
  }

 private:
  ParityCheck check_;
  int count_ = 0;
};

ParityCheck CheckTokenizer(const text::Tokenizer& tokenizer, const Golden& golden) {
  Tally tally("tokenizer");
  for (const GoldenText& text : golden.texts) {
    tally.Expect(tokenizer.Encode(text.text, /*add_special_tokens=*/true) == text.ids, StrCat("ids of \"", text.text, '"'));
    tally.Expect(tokenizer.Encode(text.text, /*add_special_tokens=*/false) == text.ids_no_special,
                 StrCat("ids without special tokens of \"", text.text, '"'));
    tally.Expect(tokenizer.Decode(text.ids_no_special, /*skip_special_tokens=*/false) == text.decode, StrCat("decoding \"", text.text, '"'));
    tally.Expect(tokenizer.Decode(text.ids_no_special, /*skip_special_tokens=*/true) == text.decode_skip_special,
                 StrCat("decoding without special tokens \"", text.text, '"'));
  }
  return tally.Finish();
}

ParityCheck CheckChat(const text::ChatTemplate& chat_template, const Golden& golden) {
  Tally tally("chat");
  for (const GoldenChat& chat : golden.chats) {
    try {
      const std::string rendered =
          chat_template.Render(chat.messages_json, chat.tools_json, chat.add_generation_prompt, chat.kwargs_json, golden.chat_now);
      tally.Expect(!chat.is_error && rendered == chat.rendered, chat.name);
    } catch (const Error& error) { tally.Expect(chat.is_error, StrCat(chat.name, ": ", error.what())); }
  }
  return tally.Finish();
}

}  // namespace

std::vector<ParityCheck> CheckTexts(const std::filesystem::path& fixture, const Golden& golden) {
  std::vector<ParityCheck> checks;
  if (!golden.texts.empty()) checks.push_back(CheckTokenizer(text::Tokenizer::Load(fixture), golden));
  if (!golden.chats.empty()) {
    const auto chat_template = text::ChatTemplate::Load(fixture);
    Require(chat_template.has_value(), ErrorCode::kNotFound, fixture.string(), ": has chat goldens but no chat template");
    checks.push_back(CheckChat(*chat_template, golden));
  }
  return checks;
}

}  // namespace intaglio::parity
