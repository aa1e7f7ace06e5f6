// Parity: does this engine compute what Transformers computes? Checks a fixture folder (a checkpoint with golden.safetensors and
// golden.json, the layout of tests/fixtures) and reports the worst element of everything that was compared.
#pragma once
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace intaglio {

// One comparison: a probe, all logits of a prompt, greedy ids, chat texts, …
struct ParityCheck {
  std::string name;            // "p1.layer0.q_rope", "p2.logits", "p0.greedy_ids", "chat", "tokenizer"
  double worst = 0;            // largest error (or the number of mismatches, where equality is asked)
  double tolerance = 0;        // what was allowed
  std::string where;           // of the worst element: "[17, 803]: 1.25 instead of 1.26"; or what differs
  bool is_ok = false;
};

struct ParityReport {
  std::string fixture, architecture, dtype, isa;
  std::vector<ParityCheck> checks;
  std::string error;           // the fixture could not be run at all: why
  [[nodiscard]] bool is_ok() const;
};

struct ParityOptions {
  std::string dtype = "f32";   // of the weights: "f32" or "bf16"
  std::string isa;             // empty: INTAGLIO_ISA, else the best of this CPU
  int threads = 0;
};

// Exports the fixture into a temporary bundle and runs everything that applies. Never throws for a miss or for a model that cannot be
// exported (report.error); throws Error when the folder is no fixture.
[[nodiscard]] ParityReport CompareFixture(const std::filesystem::path& fixture, const ParityOptions& options = {});

// A Markdown table: one line a check; `only_summary` gives one line a fixture, with its worst check.
[[nodiscard]] std::string ToMarkdown(std::span<const ParityReport> reports, bool only_summary);
[[nodiscard]] std::string ToJson(std::span<const ParityReport> reports);

}  // namespace intaglio
