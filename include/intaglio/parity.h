// Parity: does this engine compute what Transformers computes? Checks a fixture folder (a checkpoint with golden.safetensors and
// golden.json, the layout of tests/fixtures), or a bundle against a capture (the goldens alone, as python/intaglio/parity/capture.py
// records them), and reports the worst element of everything that was compared.
#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "intaglio/gate.h"

namespace intaglio {

// One comparison: a probe, logits, greedy ids, chat texts, …
struct ParityCheck {
  std::string name;            // "p1.layer0.q_rope", "logits, top 5", "p0.greedy_ids", "chat", "tokenizer"
  double worst = 0;            // largest error (or the number of mismatches, where equality is asked)
  double tolerance = 0;        // what was allowed
  std::string where;           // of the worst element: "[17, 803]: 1.25 instead of 1.26"; or what differs
  bool is_ok = false;
};

// Logit errors are told by the rank that the golden gives a token: the 5, 50 and 1000 likeliest of each row, and (0) all.
inline constexpr std::array<int64_t, 4> kLogitBands{5, 50, 1000, 0};
struct LogitBand {
  int64_t top = 0;             // of kLogitBands; those wider than the vocabulary are left out
  double worst = 0, mean = 0;  // absolute errors
  std::string where;           // of the worst
};
// KL(golden || ours) of the distributions of the next token, in nats, over all rows of all prompts.
struct LogitDivergence {
  double mean = 0, worst = 0;
  std::string where;
};
// How far the residual stream is off after a layer: |ours - golden| / |golden|, Euclidean norms over all rows.
struct LayerDrift {
  std::string name;            // "embed", "layer0", …, "final_norm"
  double error = 0;
};

struct ParityReport {
  std::string fixture, architecture, dtype, isa;
  std::string capture_digest;  // of golden.json and golden.safetensors
  std::vector<ParityCheck> checks;
  std::vector<LogitBand> bands;
  LogitDivergence divergence;
  int64_t first_divergence = -1;        // the first greedy token that differs, over all prompts; -1: none
  std::string first_divergence_where;   // which prompt, and how clear the golden's choice was
  std::vector<LayerDrift> drift;        // empty for a bundle without probes
  std::vector<std::string> notes;       // what was not compared, and why
  std::string error;           // the fixture could not be run at all: why
  [[nodiscard]] bool is_ok() const;
};

struct ParityOptions {
  std::string dtype = "f32";   // of the weights: "f32" or "bf16"
  std::string isa;             // empty: INTAGLIO_ISA, else the best of this CPU
  int threads = 0, threads_per_rank = 0;   // as EngineOptions has them
  std::string bind{};
  // Allowed at each of kLogitBands; 0: what f32 rounding explains. Weights that are not those of the goldens (bf16 of an f32 checkpoint) are
  // held to a mean instead.
  std::array<double, 4> logit_tolerances{};
};

// Exports the fixture into a temporary bundle and runs everything that applies. Never throws for a miss or for a model that cannot be
// exported (report.error); throws Error when the folder is no fixture.
[[nodiscard]] ParityReport CompareFixture(const std::filesystem::path& fixture, const ParityOptions& options = {});

// Runs a bundle against a capture of the model it was made from: logits, greedy tokens and log-probabilities; inner values too where the
// bundle has them (ExportOptions::keep_probes). options.dtype is not used. Throws Error for what cannot be opened, and when the capture is of
// another model or its prompts do not fit the bundle.
[[nodiscard]] ParityReport CompareBundle(const std::filesystem::path& bundle, const std::filesystem::path& capture,
                                         const ParityOptions& options = {});

// Compiles each module of a checkpoint that a capture (or fixture) has input and output of, and feeds it with the golden input: no error of
// one module reaches another, and no more than one is in memory. Throws Error as BuildModule and for a capture that cannot be read.
[[nodiscard]] ParityReport CompareModules(const std::filesystem::path& checkpoint, const std::filesystem::path& capture,
                                          const ParityOptions& options = {});

// What a manifest keeps of a report.
[[nodiscard]] ParityGate Summarise(const ParityReport& report);

// The modules of a model that can be compiled by themselves.
enum class ModuleKind : uint8_t {
  kAttention,      // from what enters a layer's attention to what its output projection gives
  kMlp,            // the feed-forward block, dense or a mixture of experts
  kInputNorm,      // the norm before the attention, where the layer has one
  kDecoderLayer,   // residual stream in, residual stream out
  kFinalNorm,      // the norm before the head
};

struct ModuleSpec {
  std::filesystem::path checkpoint;   // a checkpoint directory, or a .gguf file
  ModuleKind kind = ModuleKind::kDecoderLayer;
  int64_t layer = 0;           // kFinalNorm: ignored, but must exist
  std::string dtype = "f32";   // of the weights: "f32" or "bf16"
  std::string isa;             // empty: INTAGLIO_ISA, else the best of this CPU
  int threads = 0;             // 0: one per physical core
  int32_t rows = 16;           // of the graph: longer inputs take several steps, as in chunked context encoding
  int64_t max_tokens = 512;    // of an input; at most the model's own limit
};

// One module, compiled as the exporter would and run by the runtime's device and kernels. One thread at a time may use it.
class Module {
 public:
  virtual ~Module() = default;
  // The names of the values that it reads and makes, as probes and golden tensors have them: "layer0.attn_in", "layer0.attn_out".
  [[nodiscard]] virtual const std::string& from() const = 0;
  [[nodiscard]] virtual const std::string& to() const = 0;
  [[nodiscard]] virtual int64_t input_cols() const = 0;
  [[nodiscard]] virtual int64_t output_cols() const = 0;
  // [tokens, input_cols] of one sequence, from position 0 on -> [tokens, output_cols]. Throws Error kInvalidArgument for another shape.
  [[nodiscard]] virtual std::vector<float> Run(std::span<const float> input) = 0;
};

// Reads only the module's weights. Throws Error: as Export does, and kInvalidArgument for a module that the model does not have.
[[nodiscard]] std::unique_ptr<Module> BuildModule(const ModuleSpec& spec);

// Runs the module and compares. `tolerance` is relative to the golden's largest entry; 2e-5 is what f32 rounding explains.
[[nodiscard]] ParityCheck ValidateAccuracy(Module& module, std::span<const float> input, std::span<const float> golden, double tolerance = 2e-5);
// The same with input and golden of the probed prompt of a capture (a folder with golden.safetensors and golden.json). Throws Error kNotFound if it lacks them.
[[nodiscard]] ParityCheck ValidateAccuracy(Module& module, const std::filesystem::path& capture, double tolerance = 2e-5);

// A Markdown table: one line a check, then bands, divergences and drifts; `only_summary` gives one line a report, with its worst check.
[[nodiscard]] std::string ToMarkdown(std::span<const ParityReport> reports, bool only_summary);
[[nodiscard]] std::string ToJson(std::span<const ParityReport> reports);
// Drift by layer as a picture, one line a report, on a logarithmic scale. Reports without drift are left out.
[[nodiscard]] std::string DriftPlot(std::span<const ParityReport> reports);

}  // namespace intaglio
