// Parity: does this engine compute what Transformers computes? Checks a fixture folder (a checkpoint with golden.safetensors and
// golden.json, the layout of tests/fixtures) and reports the worst element of everything that was compared.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
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
// The same with input and golden of the probed prompt of a capture (a folder with golden.safetensors). Throws Error kNotFound if it lacks them.
[[nodiscard]] ParityCheck ValidateAccuracy(Module& module, const std::filesystem::path& capture, double tolerance = 2e-5);

// A Markdown table: one line a check; `only_summary` gives one line a fixture, with its worst check.
[[nodiscard]] std::string ToMarkdown(std::span<const ParityReport> reports, bool only_summary);
[[nodiscard]] std::string ToJson(std::span<const ParityReport> reports);

}  // namespace intaglio
