// The boundary to the Rust crate: hostile tokenizer files, texts, ids, chat templates and messages. Either an answer or an Error, and a
// streamed text that equals the decoded one.
// The first byte chooses what the rest is.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "intaglio/error.h"
#include "text/chat_template.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"

namespace {

using intaglio::text::ChatTemplate;
using intaglio::text::Detokenizer;
using intaglio::text::Tokenizer;

constexpr const char* kFixtures[] = {"llama-tiny", "gemma3-text-tiny", "bert-embedding-tiny", "tokenizer-unigram"};
constexpr const char* kMessages = R"([{"role": "user", "content": "hi"}, {"role": "assistant", "content": [{"type": "text", "text": "ho"}]}])";
constexpr const char* kTools = R"([{"type": "function", "function": {"name": "f", "parameters": {"a": [1, 2.5, null, true]}}}])";

void CheckStream(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool skip_special_tokens) {
  const std::string expected = tokenizer.Decode(ids, skip_special_tokens);
  Detokenizer detokenizer(tokenizer, skip_special_tokens);
  std::string text;
  for (const int32_t id : ids) text += detokenizer.Push(id);
  text += detokenizer.Finish();
  if (text == expected) return;
  std::fprintf(stderr, "the stream gives \"%s\", decoding gives \"%s\"\n", text.c_str(), expected.c_str());
  std::abort();
}

void TokenizeAndDecode(const Tokenizer& tokenizer, std::string_view input) {
  (void)tokenizer.Encode(input, /*add_special_tokens=*/true);
  const auto vocab_size = static_cast<uint32_t>(tokenizer.vocab_size());
  std::vector<int32_t> ids;
  for (size_t i = 0; vocab_size > 0 && i + 2 <= input.size(); i += 2) {
    uint16_t value = 0;
    std::memcpy(&value, input.data() + i, sizeof value);
    ids.push_back(static_cast<int32_t>(value % vocab_size));
  }
  CheckStream(tokenizer, ids, /*skip_special_tokens=*/false);
  CheckStream(tokenizer, ids, /*skip_special_tokens=*/true);
}

const std::vector<Tokenizer>& FixtureTokenizers() {
  static const std::vector<Tokenizer> kTokenizers = [] {
    std::vector<Tokenizer> tokenizers;
    for (const char* fixture : kFixtures)
      tokenizers.push_back(Tokenizer::Load(std::filesystem::path(INTAGLIO_SOURCE_DIR "/tests/fixtures") / fixture));
    return tokenizers;
  }();
  return kTokenizers;
}

// A template comes from a file, so one is written: in memory, if the machine has a place for that.
void RenderTemplate(std::string_view source) {
  static const std::filesystem::path kFolder = [] {
    std::string folder = std::filesystem::exists("/dev/shm") ? "/dev/shm/intaglio_fuzz_XXXXXX" : "/tmp/intaglio_fuzz_XXXXXX";
    if (mkdtemp(folder.data()) == nullptr) std::abort();
    std::atexit([] { std::filesystem::remove_all(kFolder); });
    return std::filesystem::path(folder);
  }();
  std::ofstream(kFolder / "chat_template.jinja") << source;
  (void)ChatTemplate::Load(kFolder)->Render(kMessages, kTools, /*add_generation_prompt=*/true, "", "2025-06-28T12:00:00");
}

void RenderMessages(std::string_view messages) {
  static const auto kTemplate = ChatTemplate::Load(INTAGLIO_SOURCE_DIR "/tests/fixtures/smollm3-tiny");
  (void)kTemplate->Render(messages, kTools, /*add_generation_prompt=*/true, "", "2025-06-28T12:00:00");
}

void Run(uint8_t choice, std::string_view input) {
  const std::vector<Tokenizer>& tokenizers = FixtureTokenizers();
  switch (choice % 4) {
    case 0:
      return TokenizeAndDecode(tokenizers[choice / 4 % tokenizers.size()], input);
    case 1:
      return TokenizeAndDecode(Tokenizer::FromJson(input), "Hello, wörld! \xF0\x9F\x98\x80");
    case 2:
      return RenderTemplate(input);
    default:
      return RenderMessages(input);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  try {
    Run(data[0], {reinterpret_cast<const char*>(data) + 1, size - 1});
  } catch (const intaglio::Error&) {
    // The input is bad, and was told so.
  }
  return 0;
}
