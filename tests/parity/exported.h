// A fixture exported once per test program into a temporary directory, and its longest sequence.
#pragma once
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "intaglio/engine.h"
#include "intaglio/export.h"
#include "parity/golden.h"
#include "tests/base/temporary_folder.h"

namespace intaglio::test {

inline std::filesystem::path FixturePath(const std::string& name) { return std::filesystem::path(INTAGLIO_SOURCE_DIR) / "tests/fixtures" / name; }

struct Degrees {
  int32_t tp = 1, ep = 1;
  std::string dispatch = "auto";   // of experts' results
};

// The bundle of (fixture, dtype of weights and of the KV cache): 8 slots, chunks of 1, 3, 16 and 64, batches of 1, 2, 4 and 8, speculation of 3.
inline std::filesystem::path ExportedBundle(const std::string& fixture, const std::string& dtype, Degrees degrees = {},
                                            const std::string& kv_dtype = "f32") {
  static const TemporaryFolder root;
  const std::filesystem::path bundle = root.path() / (fixture + "." + dtype + "." + std::to_string(degrees.tp) + "." + std::to_string(degrees.ep) +
                                                      "." + degrees.dispatch + "." + kv_dtype);
  if (!std::filesystem::exists(bundle)) {
    Export({.source = FixturePath(fixture),
            .output = bundle,
            .weights = dtype,
            .kv_dtype = kv_dtype,
            .max_context = 192,
            .max_batch = 8,
            .prefill_buckets = {1, 3, 16, 64},
            .batch_buckets = {1, 2, 4, 8},
            .tp_degree = degrees.tp,
            .ep_degree = degrees.ep,
            .expert_dispatch = degrees.dispatch,
            .speculation = 3,
            .force = false,
            .keep_probes = false,
            .on_progress = {}});
  }
  return bundle;
}

// The longest prompt and its greedy continuation: longer than any window, across tile borders.
inline std::vector<int32_t> LongSequence(const std::string& fixture) {
  const parity::GoldenPrompt prompt = parity::ReadGolden(FixturePath(fixture)).prompts.at(2);
  std::vector<int32_t> tokens = prompt.input_ids;
  tokens.insert(tokens.end(), prompt.greedy_ids.begin(), prompt.greedy_ids.end());
  return tokens;
}

using Logits = std::map<int32_t, std::vector<float>>;  // position -> logits of what follows it

// Appends `tokens` to `slot` in steps of `chunk` rows, asking for as many outputs as the graph gives.
inline void Append(Engine& engine, StepKind kind, int32_t slot, std::span<const int32_t> tokens, int32_t chunk, Logits& logits) {
  while (!tokens.empty()) {
    const auto size = std::min<size_t>(static_cast<size_t>(chunk), tokens.size());
    const auto outputs = std::min<int32_t>(static_cast<int32_t>(size), engine.max_outputs(kind));
    const StepSequence sequence{.slot = slot, .tokens = tokens.first(size), .outputs = outputs, .sampling = nullptr};
    for (const StepOutput& output : engine.Step(kind, {&sequence, 1})) logits[output.position].assign(output.logits.begin(), output.logits.end());
    tokens = tokens.subspan(size);
  }
}

// Appends a prompt in chunks; the logits after its last token.
inline std::vector<float> AppendPrompt(Engine& engine, int32_t slot, std::span<const int32_t> tokens, int32_t chunk) {
  std::vector<float> logits;
  for (size_t begin = 0; begin < tokens.size(); begin += static_cast<size_t>(chunk)) {
    const auto size = std::min(static_cast<size_t>(chunk), tokens.size() - begin);
    const StepSequence sequence{
        .slot = slot, .tokens = tokens.subspan(begin, size), .outputs = 1, .sampling = nullptr, .prompt_length = static_cast<int32_t>(tokens.size())};
    const StepOutput& output = engine.Step(StepKind::kContextEncoding, {&sequence, 1}).back();
    logits.assign(output.logits.begin(), output.logits.end());
  }
  return logits;
}

// Appends the tokens that bring the slot to `length`, one by one; the logits after the last. `tokens`: the whole sequence.
inline std::vector<float> DecodeTo(Engine& engine, int32_t slot, std::span<const int32_t> tokens, int32_t length) {
  Logits logits;
  const auto begin = static_cast<size_t>(engine.length(slot));
  Append(engine, StepKind::kTokenGeneration, slot, tokens.subspan(begin, static_cast<size_t>(length) - begin), 1, logits);
  return logits.at(length - 1);
}

inline bool IsSame(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace intaglio::test
