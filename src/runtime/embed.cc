// The loop over Engine::Step that embeds texts: as many as fit share a step; a text longer than a step goes in chunks first.
#include "intaglio/embed.h"

#include <algorithm>

#include "base/fail.h"

namespace intaglio {
namespace {

// Slots taken for the call and given back: one for each text, or as many as are free.
class Slots {
 public:
  Slots(Engine& engine, size_t wanted) : engine_(engine) {
    while (slots_.size() < wanted) {
      const std::optional<int32_t> slot = engine.AcquireSlot();
      if (!slot) break;
      slots_.push_back(*slot);
    }
    Require(!slots_.empty() || wanted == 0, ErrorCode::kResourceExhausted, "all ", engine.info().max_slots,
            " slots are taken: release one, or export with a larger --max-batch");
  }
  Slots(const Slots&) = delete;
  Slots& operator=(const Slots&) = delete;
  ~Slots() {
    for (int32_t slot : slots_) engine_.ReleaseSlot(slot);
  }
  [[nodiscard]] size_t size() const { return slots_.size(); }
  // Slot number i, empty.
  [[nodiscard]] int32_t Clear(size_t i) {
    engine_.Truncate(slots_[i], 0);
    return slots_[i];
  }

 private:
  Engine& engine_;
  std::vector<int32_t> slots_;
};

void CheckTexts(const Engine& engine, std::span<const std::vector<int32_t>> texts) {
  const ModelInfo& info = engine.info();
  Require(info.embedding_dim > 0, ErrorCode::kUnsupported, "the bundle generates text (", info.architecture,
          "); export the checkpoint with --task embed to embed");
  for (size_t i = 0; i < texts.size(); ++i) {
    const int64_t count = std::ssize(texts[i]);
    Require(count > 0, ErrorCode::kInvalidArgument, "text ", i, " has no tokens");
    Require(count <= info.max_context, ErrorCode::kInvalidArgument, "text ", i, " has ", count, " tokens, but the bundle's context is ",
            info.max_context, ": export with --max-context ", count, " or more, or embed the text in parts");
  }
}

class Embedding {
 public:
  Embedding(Engine& engine, std::span<const std::vector<int32_t>> texts)
      : engine_(engine), texts_(texts), slots_(engine, texts.size()), max_rows_(static_cast<size_t>(engine.max_rows(StepKind::kContextEncoding))) {
    max_sequences_ = std::min(slots_.size(), static_cast<size_t>(engine.max_outputs(StepKind::kContextEncoding)));
  }

  std::vector<std::vector<float>> Run() {
    std::vector<std::vector<float>> vectors;
    while (vectors.size() < texts_.size()) {
      for (const StepOutput& output : engine_.Step(StepKind::kContextEncoding, NextStep(vectors.size()))) {
        vectors.emplace_back(output.embedding.begin(), output.embedding.end());
      }
    }
    return vectors;
  }

 private:
  // The texts from `first` on that end in one step.
  std::span<const StepSequence> NextStep(size_t first) {
    sequences_.clear();
    size_t rows = 0;
    for (size_t i = first; i < texts_.size() && sequences_.size() < max_sequences_; ++i) {
      const size_t size = texts_[i].size();
      if (!sequences_.empty() && rows + size > max_rows_) break;
      const int32_t slot = slots_.Clear(sequences_.size());
      const size_t done = size > max_rows_ ? EncodeAllButTheLastChunk(slot, texts_[i]) : 0;
      sequences_.push_back(Part(slot, texts_[i], done, size - done, /*outputs=*/1));
      rows += size - done;
    }
    return sequences_;
  }

  size_t EncodeAllButTheLastChunk(int32_t slot, const std::vector<int32_t>& text) {
    size_t done = 0;
    for (; text.size() - done > max_rows_; done += max_rows_) {
      const StepSequence chunk = Part(slot, text, done, max_rows_, /*outputs=*/0);
      (void)engine_.Step(StepKind::kContextEncoding, {&chunk, 1});
    }
    return done;
  }

  static StepSequence Part(int32_t slot, const std::vector<int32_t>& text, size_t begin, size_t size, int32_t outputs) {
    return {.slot = slot,
            .tokens = std::span(text).subspan(begin, size),
            .outputs = outputs,
            .sampling = nullptr,
            .prompt_length = static_cast<int32_t>(text.size())};
  }

  Engine& engine_;
  std::span<const std::vector<int32_t>> texts_;
  Slots slots_;
  size_t max_rows_, max_sequences_ = 0;
  std::vector<StepSequence> sequences_;   // of the step under way
};

}  // namespace

std::vector<std::vector<float>> Embed(Engine& engine, std::span<const std::vector<int32_t>> texts) {
  CheckTexts(engine, texts);
  return Embedding(engine, texts).Run();
}

}  // namespace intaglio
