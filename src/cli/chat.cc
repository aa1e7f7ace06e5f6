#include "cli/chat.h"

#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/statistics.h"
#include "cli/terminal.h"

namespace intaglio::cli {
namespace {

void Write(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

// One message in, one answer out; both are remembered.
void Answer(Model& model, const text::ChatTemplate& chat_template, GenerateRequest request, nlohmann::json& messages) {
  const InterruptGuard interrupt;
  const std::string prompt = chat_template.Render(messages.dump(), /*tools_json=*/{}, /*add_generation_prompt=*/true);
  request.prompt = model.RequireTokenizer().Encode(prompt, /*add_special_tokens=*/false);  // the template writes them itself
  std::string answer;
  const auto emit = [&](std::string_view text) {
    answer += text;
    Write(text);
  };
  const GenerateResult result = Stream(model, request, emit, interrupt);
  Write("\n");
  PrintNote(ToString(MakeStatistics(*model.engine, request, result, model.load_seconds)));
  messages.push_back({{"role", "assistant"}, {"content", answer}});
}

}  // namespace

int RunChat(Model& model, const GenerateRequest& request) {
  const text::ChatTemplate chat_template = model.RequireChatTemplate();
  (void)model.RequireTokenizer();
  const bool is_interactive = IsTerminal(STDIN_FILENO);
  if (is_interactive) PrintNote("Write a message and press Enter. Ctrl-C stops an answer, Ctrl-D ends.");
  GenerateRequest turn = request;
  turn.slot = model.engine->AcquireSlot().value();  // the engine is fresh: every slot is free
  nlohmann::json messages = nlohmann::json::array();
  while (true) {
    std::string line;
    {
      const InterruptGuard interrupt;
      if (is_interactive) Write("> ");
      const bool has_line = static_cast<bool>(std::getline(std::cin, line));
      if (interrupt.is_interrupted()) {
        Write("\n");
        return interrupt.exit_code();
      }
      if (!has_line) break;
    }
    if (line.empty()) continue;
    messages.push_back({{"role", "user"}, {"content", line}});
    Answer(model, chat_template, turn, messages);
  }
  if (is_interactive) Write("\n");
  return 0;
}

}  // namespace intaglio::cli
