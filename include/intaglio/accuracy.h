// Accuracy: what a bundle's weights, or anything else that is not exact, cost against another bundle of the same model, on a text.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "intaglio/engine.h"
#include "intaglio/export.h"
#include "intaglio/gate.h"

namespace intaglio {

struct AccuracyOptions {
  int64_t context = 0;      // tokens of a window; 0: 512, or the context of the bundle that holds less
  int64_t max_tokens = 0;   // of the text, from its beginning; 0: all
  EngineOptions engine{};   // of both; a bundle that failed its gate is loaded all the same
  std::function<void(int64_t done, int64_t total)> on_window{};   // may throw to interrupt
};

// The ids of a UTF-8 text file, special ones at its beginning included, by the tokenizer of the bundles. Throws Error kUnsupported where
// neither has one, kInvalidArgument where theirs disagree on the text.
[[nodiscard]] std::vector<int32_t> ReadTextTokens(const std::filesystem::path& bundle, const std::filesystem::path& reference,
                                                  const std::filesystem::path& text);
// The ids in a file: a JSON list, or numbers between white space. Throws Error kInvalidArgument.
[[nodiscard]] std::vector<int32_t> ReadTokenIds(const std::filesystem::path& file);

// As `llama-perplexity --kl-divergence` does: the text is cut into windows of `context` tokens (what is left at its end is not used), each a
// sequence of its own; where the text begins with the model's BOS, so does every window, in place of its first token. Compared is what follows
// the tokens context / 2 … context - 2 of each: context - 1 - context / 2 distributions, over the whole vocabulary, summed in double. Both
// bundles are in memory at once, and logits a few rows at a time. Throws Error kInvalidArgument for a text that is no window long, a window that
// a bundle cannot hold, or vocabularies of two sizes; kUnsupported for a bundle that embeds.
[[nodiscard]] TextAccuracy CompareOnText(const std::filesystem::path& bundle, const std::filesystem::path& reference, std::span<const int32_t> tokens,
                                         const AccuracyOptions& options = {});

// A gate of an export: the bundle may be `max_kl` nats from a reference at most, in the mean over a text.
struct TextGate {
  std::filesystem::path text;
  std::filesystem::path reference{};   // a bundle; empty: the checkpoint's f32 bundle of one rank, made for the comparison beside the new one
  double max_kl = std::numeric_limits<double>::infinity();
};
// For ExportOptions::gate: judges the bundle that `made_by` made. Throws Error as the functions above and Export do.
[[nodiscard]] ParityGate JudgeOnText(const std::filesystem::path& bundle, const ExportOptions& made_by, const TextGate& gate);

}  // namespace intaglio
