// CompareFixture and CompareBundle: run the goldens' prompts and hold everything that comes out against them.
#include <algorithm>

#include "base/fail.h"
#include "base/hash.h"
#include "checkpoint/safetensors.h"
#include "intaglio/engine.h"
#include "intaglio/export.h"
#include "intaglio/parity.h"
#include "parity/bf16_checks.h"
#include "parity/embedding_checks.h"
#include "parity/golden.h"
#include "parity/graph_checks.h"
#include "parity/greedy_checks.h"
#include "parity/logit_match.h"
#include "parity/observe.h"
#include "parity/temporary_directory.h"
#include "parity/tensor_checks.h"
#include "parity/text_checks.h"
#include "parity/tolerances.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;

// golden.json and golden.safetensors of a folder.
struct Capture {
  explicit Capture(const fs::path& path)
      : folder(parity::WithoutSlash(path)),
        golden(parity::ReadGolden(folder)),
        tensors(checkpoint::SafetensorsFile::Open(folder / "golden.safetensors")) {}

  [[nodiscard]] bool has_experts() const {
    return std::ranges::any_of(tensors.names(), [](const std::string& name) { return name.ends_with(".router_logits"); });
  }
  [[nodiscard]] bool is_embedder() const { return !golden.embeddings.empty(); }
  [[nodiscard]] std::string digest() const {
    const std::string both = HashFile(folder / "golden.json") + HashFile(folder / "golden.safetensors");
    return HashHex(std::as_bytes(std::span(both)));
  }
  // Throws Error where ids or logits are not of a vocabulary of this size.
  void RequireVocabulary(int64_t vocab) const;

  const fs::path folder;
  const parity::Golden golden;
  const checkpoint::SafetensorsFile tensors;
};

void Capture::RequireVocabulary(int64_t vocab) const {
  for (size_t i = 0; i < golden.prompts.size(); ++i) {
    const parity::GoldenPrompt& prompt = golden.prompts[i];
    for (const std::vector<int32_t>* ids : {&prompt.input_ids, &prompt.greedy_ids}) {
      const auto wrong = std::ranges::find_if(*ids, [&](int32_t id) { return id < 0 || id >= vocab; });
      Require(wrong == ids->end(), ErrorCode::kInvalidArgument, folder.string(), ": prompt ", i, " has token ", wrong == ids->end() ? 0 : *wrong,
              ", but the bundle's vocabulary has ", vocab, "; is the capture of another model?");
    }
    const Shape& shape = tensors.tensor(StrCat('p', i, ".logits")).shape;
    const Shape expected{std::ssize(prompt.input_ids), vocab};
    Require(shape == expected, ErrorCode::kInvalidArgument, folder.string(), ": p", i, ".logits are ", shape, ", the bundle's would be ", expected,
            "; is the capture of another model?");
  }
}

// All prompts of a capture through one engine. Where the engine computes with the weights that the goldens were made with, everything has to
// agree within f32's rounding; else logits are held to what bfloat16 may cost, and the rest is told but not judged.
class CaptureRun {
 public:
  CaptureRun(const Capture& capture, Engine& engine, const ParityOptions& options, ParityReport& report)
      : capture_(capture),
        engine_(engine),
        report_(report),
        tolerances_(parity::TolerancesOf(engine.info().architecture)),
        is_strict_(IsExactFor(capture.golden, engine.info().weight_dtype)),
        match_(engine.info().vocab_size),
        bf16_(capture.has_experts(), tolerances_.bf16_expert_mean),
        logit_tolerances_(options.logit_tolerances) {
    for (double& tolerance : logit_tolerances_) tolerance = tolerance == 0 ? tolerances_.logits : tolerance;
  }

  void Run() {
    report_.capture_digest = capture_.digest();
    capture_.RequireVocabulary(engine_.info().vocab_size);
    for (size_t i = 0; i < capture_.golden.prompts.size(); ++i) RunPrompt(i);
    report_.bands = match_.bands();
    report_.divergence = match_.divergence();
    for (ParityCheck& check : is_strict_ ? match_.Checks(logit_tolerances_) : bf16_.Finish()) Add(std::move(check));
  }

 private:
  void Add(ParityCheck check) { report_.checks.push_back(std::move(check)); }

  void RunPrompt(size_t index) {
    const parity::GoldenPrompt& prompt = capture_.golden.prompts[index];
    const std::string name = StrCat('p', index), prefix = name + '.';
    const bool is_probed = index == capture_.golden.probed_prompt;
    const parity::Observed observed = Observe(engine_, prompt, is_probed ? parity::ProbeNames(capture_.tensors, prefix) : std::vector<std::string>());
    const std::vector<float> golden = parity::ToF32(capture_.tensors, prefix + "logits");
    match_.AddPrompt(name, observed.prompt_logits, golden);
    bf16_.AddPrompt(name, observed.prompt_logits, golden, engine_.info().vocab_size);
    if (is_probed) AddProbes(prefix, observed.probes);
    const parity::GreedyRun greedy = RunGreedy(engine_, prompt);
    NoteDivergence(name, prompt, greedy);
    if (!is_strict_) return;
    Add(CheckForced(name, prompt, observed.forced_logits, engine_.info().vocab_size, logit_tolerances_.front()));
    for (ParityCheck& check : CheckGreedy(name, prompt, greedy, tolerances_.logits)) Add(std::move(check));
  }

  void AddProbes(const std::string& prefix, const parity::ProbeValues& values) {
    if (values.empty()) {
      report_.notes.emplace_back("inner values were not compared: the bundle has no probes (export it with --keep-probes)");
      return;
    }
    report_.drift = parity::MeasureDrift(capture_.tensors, prefix, values);
    if (!is_strict_) return;
    for (ParityCheck& check : parity::CheckProbes(capture_.tensors, prefix, values, tolerances_.probes)) Add(std::move(check));
  }

  void NoteDivergence(const std::string& name, const parity::GoldenPrompt& prompt, const parity::GreedyRun& run) {
    if (run.num_wanted < prompt.greedy_ids.size()) {
      report_.notes.push_back(StrCat(name, ": only ", run.num_wanted, " of ", prompt.greedy_ids.size(), " greedy tokens fit the bundle's context"));
    }
    const auto first = static_cast<int64_t>(run.num_equal);
    if (run.is_equal() || (report_.first_divergence >= 0 && report_.first_divergence <= first)) return;
    report_.first_divergence = first;
    report_.first_divergence_where = name;
    if (run.num_equal < prompt.margins.size())
      report_.first_divergence_where += StrCat(", where the golden's token wins by ", prompt.margins[run.num_equal]);
  }

  const Capture& capture_;
  Engine& engine_;
  ParityReport& report_;
  const parity::Tolerances tolerances_;
  const bool is_strict_;
  parity::LogitMatch match_;
  parity::Bf16Checks bf16_;
  std::array<double, kLogitBands.size()> logit_tolerances_;
};

void DescribeEngine(const Engine& engine, ParityReport& report) {
  report.architecture = engine.info().architecture;
  report.isa = engine.info().isa;
  report.dtype = engine.info().weight_dtype;
}

// `tokenizer`: the folder that has it.
void RunEmbedder(const Capture& capture, const fs::path& tokenizer, Engine& engine, ParityReport& report) {
  const bool has_golden_weights = IsExactFor(capture.golden, engine.info().weight_dtype);
  report.checks = parity::CheckEmbeddings(tokenizer, {capture.golden, capture.tensors, has_golden_weights}, engine);
}

void RunFixture(const Capture& capture, const ParityOptions& options, ParityReport& report) {
  const parity::TemporaryDirectory temporary;
  const fs::path bundle = temporary.path() / "bundle";
  Export({.source = capture.folder,
          .output = bundle,
          .weights = options.dtype,
          .max_context = 0,
          .max_batch = 2,
          .prefill_buckets = capture.is_embedder() ? std::vector<int32_t>() : std::vector<int32_t>{16},
          .batch_buckets = {1, 2},
          .speculation = 0,
          .force = false,
          .keep_probes = true,
          .on_progress = {}});
  const auto engine = Engine::Load(
      bundle,
      {.threads = options.threads, .threads_per_rank = options.threads_per_rank, .bind = options.bind, .isa = options.isa, .verify_checksums = true});
  DescribeEngine(*engine, report);
  if (capture.is_embedder()) return RunEmbedder(capture, capture.folder, *engine, report);
  for (ParityCheck& check : parity::CheckTexts(capture.folder, capture.golden)) report.checks.push_back(std::move(check));
  if (IsExactFor(capture.golden, options.dtype)) {
    for (ParityCheck& check : parity::CheckGraph(capture.folder, capture.tensors)) report.checks.push_back(std::move(check));
  }
  CaptureRun(capture, *engine, options, report).Run();
}

}  // namespace

ParityReport CompareFixture(const fs::path& fixture, const ParityOptions& options) {
  const Capture capture(fixture);
  ParityReport report;
  report.fixture = capture.folder.filename().string();
  report.dtype = options.dtype;
  report.isa = options.isa;
  try {
    RunFixture(capture, options, report);
  } catch (const Error& error) { report.error = error.what(); }
  return report;
}

ParityReport CompareBundle(const fs::path& bundle, const fs::path& folder, const ParityOptions& options) {
  const Capture capture(folder);
  const auto engine = Engine::Load(bundle, {.threads = options.threads,
                                            .threads_per_rank = options.threads_per_rank,
                                            .bind = options.bind,
                                            .isa = options.isa,
                                            .verify_checksums = true,
                                            .allow_failed_parity = true});
  ParityReport report;
  report.fixture = capture.folder.filename().string();
  DescribeEngine(*engine, report);
  if (capture.is_embedder()) {
    RunEmbedder(capture, bundle, *engine, report);
    return report;
  }
  if (fs::exists(bundle / "tokenizer.json")) {
    for (ParityCheck& check : parity::CheckTexts(bundle, capture.golden)) report.checks.push_back(std::move(check));
  }
  CaptureRun(capture, *engine, options, report).Run();
  return report;
}

}  // namespace intaglio
