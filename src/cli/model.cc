#include "cli/model.h"

#include <malloc.h>

#include <chrono>

#include "base/fail.h"
#include "cli/terminal.h"
#include "text/detokenizer.h"

namespace intaglio::cli {

const text::Tokenizer& Model::RequireTokenizer() const {
  Require(tokenizer.has_value(), ErrorCode::kUnsupported, path.string(), ": the bundle has no tokenizer; use --input-ids 1,2,3 instead of text");
  return *tokenizer;
}

text::ChatTemplate Model::RequireChatTemplate() const {
  std::optional<text::ChatTemplate> chat_template = text::ChatTemplate::Load(path);
  Require(chat_template.has_value(), ErrorCode::kUnsupported, path.string(),
          ": the bundle has no chat template (a base model?); use -p PROMPT to continue a text");
  return *std::move(chat_template);
}

Model LoadModel(const std::filesystem::path& bundle, const EngineOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  Model model;
  model.path = bundle;
  if (std::filesystem::exists(bundle / "tokenizer.json")) model.tokenizer = text::Tokenizer::Load(bundle);
  // Parsing a large tokenizer leaves twice its size in freed memory. Given back before the engine takes its own, it is on top of nothing.
  malloc_trim(/*pad=*/0);
  model.engine = Engine::Load(bundle, options);
  model.load_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return model;
}

GenerateResult Stream(Model& model, GenerateRequest request, const Emit& emit, const InterruptGuard& interrupt) {
  std::optional<text::Detokenizer> detokenizer;
  if (model.tokenizer) detokenizer.emplace(*model.tokenizer, /*skip_special_tokens=*/true);
  ProgressBar progress;
  request.on_prefill = [&](int32_t done, int32_t total) {
    progress.Update("reading the prompt", static_cast<uint64_t>(done), static_cast<uint64_t>(total));
    if (done == total) progress.Clear();
    return !interrupt.is_interrupted();
  };
  request.on_token = [&](int32_t id) {
    // Models may have more logits than their tokenizer has tokens: such an id has no text.
    if (detokenizer && id < model.tokenizer->vocab_size()) emit(detokenizer->Push(id));
    return !interrupt.is_interrupted();
  };
  GenerateResult result = Generate(*model.engine, request);
  if (detokenizer) emit(detokenizer->Finish());
  return result;
}

}  // namespace intaglio::cli
