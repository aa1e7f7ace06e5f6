// A bundle ready to talk: the engine and, where the bundle has them, its tokenizer and chat template.
#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "cli/interrupt.h"
#include "intaglio/engine.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace intaglio::cli {

struct Model {
  std::filesystem::path path;
  std::unique_ptr<Engine> engine;
  std::optional<text::Tokenizer> tokenizer;
  double load_seconds = 0;

  // Throws Error kUnsupported, saying what works without, if the bundle has none.
  [[nodiscard]] const text::Tokenizer& RequireTokenizer() const;
  [[nodiscard]] text::ChatTemplate RequireChatTemplate() const;
};

[[nodiscard]] Model LoadModel(const std::filesystem::path& bundle, const EngineOptions& options);

// Generates, giving each piece of text to `emit` as soon as it is final, until done or interrupted ("cancelled").
// Without a tokenizer `emit` is never called.
using Emit = std::function<void(std::string_view text)>;
[[nodiscard]] GenerateResult Stream(Model& model, GenerateRequest request, const Emit& emit, const InterruptGuard& interrupt);

}  // namespace intaglio::cli
