#include "cli/model.h"

#include <chrono>
#include <future>

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

namespace {

std::optional<text::Tokenizer> LoadTokenizer(const std::filesystem::path& bundle) {
  return std::filesystem::exists(bundle / "tokenizer.json") ? std::optional(text::Tokenizer::Load(bundle)) : std::nullopt;
}

}  // namespace

Model LoadModel(const std::filesystem::path& bundle, const EngineOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  Model model;
  model.path = bundle;
  // It takes longer than the engine, which has nothing to do with it.
  std::future<std::optional<text::Tokenizer>> tokenizer = std::async(std::launch::async, LoadTokenizer, bundle);
  // What is in memory before the first step would be on top of what parsing takes for a while.
  if (options.prefault || options.mlock) tokenizer.wait();
  ProgressBar progress;
  EngineOptions with_progress = options;
  with_progress.on_prefault = [&](uint64_t done, uint64_t total) { progress.Update("getting the model into memory", done, total); };
  model.engine = Engine::Load(bundle, with_progress);
  progress.Clear();
  model.tokenizer = tokenizer.get();
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
