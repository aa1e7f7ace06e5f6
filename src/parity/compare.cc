// CompareFixture: exports a fixture, runs its prompts and holds everything that comes out against the goldens.
// Tolerances are those that tests/fixtures/README.md derives from float32 against float64.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <utility>

#include "base/fail.h"
#include "checkpoint/safetensors.h"
#include "intaglio/engine.h"
#include "intaglio/export.h"
#include "intaglio/parity.h"
#include "parity/bf16_checks.h"
#include "parity/golden.h"
#include "parity/graph_checks.h"
#include "parity/temporary_directory.h"
#include "parity/tensors.h"
#include "parity/text_checks.h"
#include "parity/worst_element.h"

namespace intaglio {
namespace {

using parity::FindWorst;
using parity::kProbedPrompt;
using parity::TemporaryDirectory;
using parity::ToF32;
using parity::WorstElement;

constexpr double kLogitTolerance = 5e-4;        // also of log-probabilities
constexpr double kProbeTolerance = 2e-5;        // times the tensor's largest entry

// What a prompt leaves behind: logits of every position, and every probe with its rows in order.
struct Observed {
  std::vector<float> logits;
  std::map<std::string, std::vector<float>> probes;
};

class FixtureRun {
 public:
  FixtureRun(const std::filesystem::path& fixture, const ParityOptions& options, ParityReport& report)
      : fixture_(fixture), options_(options), report_(report), golden_(parity::ReadGolden(fixture)),
        tensors_(checkpoint::SafetensorsFile::Open(fixture / "golden.safetensors")) {}

  void Run() {
    const bool has_golden_weights = options_.dtype == "f32" || golden_.stored_dtype == "bfloat16";
    LoadEngine();
    for (ParityCheck& check : parity::CheckTexts(fixture_, golden_)) Add(std::move(check));
    if (has_golden_weights) {
      for (ParityCheck& check : parity::CheckGraph(fixture_, tensors_)) Add(std::move(check));
    }
    parity::Bf16Checks bf16(std::ranges::any_of(tensors_.names(), [](const std::string& name) { return name.ends_with(".expert_ids"); }));
    for (size_t i = 0; i < golden_.prompts.size(); ++i) {
      const Observed observed = Observe(golden_.prompts[i].input_ids, i == kProbedPrompt ? ProbeNames() : std::vector<std::string>());
      if (has_golden_weights) {
        CheckLogits(i, observed.logits);
        CheckProbes(observed);
        CheckGreedy(i);
      } else {
        const TensorView golden = tensors_.tensor(StrCat('p', i, ".logits"));
        const std::vector<float> expected = ToF32(tensors_, StrCat('p', i, ".logits"));
        Require(observed.logits.size() == expected.size(), ErrorCode::kDataLoss, "prompt ", i, " has ", observed.logits.size(), " logits instead of ", golden.shape);
        bf16.AddPrompt(StrCat('p', i), observed.logits, expected, golden.shape.back());
      }
    }
    if (has_golden_weights) return;
    for (ParityCheck& check : bf16.Finish()) Add(std::move(check));
  }

 private:
  void Add(ParityCheck check) { report_.checks.push_back(std::move(check)); }

  void LoadEngine() {
    const std::filesystem::path bundle = temporary_.path() / "bundle";
    Export({.source = fixture_, .output = bundle, .dtype = options_.dtype, .max_context = 0, .max_batch = 2, .prefill_buckets = {16}, .batch_buckets = {1, 2}, .speculation = 0, .force = false, .keep_probes = true, .on_progress = {}});
    engine_ = Engine::Load(bundle, {.threads = options_.threads, .isa = options_.isa, .verify_checksums = true});
    report_.architecture = engine_->info().architecture;
    report_.isa = engine_->info().isa;
  }

  // Golden probe names without "p1.", but those that have no counterpart in a step.
  [[nodiscard]] std::vector<std::string> ProbeNames() const {
    std::vector<std::string> names;
    const std::string prefix = StrCat('p', kProbedPrompt, '.');
    for (const std::string& name : tensors_.names()) {
      if (!name.starts_with(prefix + "hidden.") && !name.starts_with(prefix + "layer")) continue;
      if (parity::IsGraphProbe(name)) continue;
      names.push_back(name.substr(prefix.size()));
    }
    return names;
  }

  // Context encoding in chunks small enough that every row may be an output row.
  Observed Observe(const std::vector<int32_t>& ids, const std::vector<std::string>& probe_names) {
    Observed observed;
    const int32_t slot = engine_->AcquireSlot().value();
    const size_t chunk = static_cast<size_t>(std::min(engine_->max_rows(StepKind::kContextEncoding), engine_->max_outputs(StepKind::kContextEncoding)));
    for (size_t begin = 0; begin < ids.size(); begin += chunk) {
      const size_t size = std::min(chunk, ids.size() - begin);
      const StepSequence sequence{.slot = slot, .tokens = std::span(ids).subspan(begin, size), .outputs = static_cast<int32_t>(size), .sampling = nullptr, .prompt_length = static_cast<int32_t>(ids.size())};
      for (const StepOutput& output : engine_->Step(StepKind::kContextEncoding, {&sequence, 1})) {
        observed.logits.insert(observed.logits.end(), output.logits.begin(), output.logits.end());
      }
      for (const std::string& name : probe_names) {
        if (const auto value = engine_->probe(name)) {
          std::vector<float>& rows = observed.probes[name];
          rows.insert(rows.end(), value->values.begin(), value->values.end());
        }
      }
    }
    engine_->ReleaseSlot(slot);
    return observed;
  }

  void CheckLogits(size_t prompt, const std::vector<float>& logits) {
    const std::string name = StrCat('p', prompt, ".logits");
    AddTensorCheck(name, logits, kLogitTolerance, /*is_relative=*/false);
  }

  void CheckProbes(const Observed& observed) {
    for (const auto& [name, values] : observed.probes) {
      if (name.ends_with(".expert_ids")) CheckExperts(observed, name.substr(0, name.rfind('.') + 1));
      if (name.ends_with(".expert_ids") || name.ends_with(".expert_weights")) continue;
      const std::string golden_name = StrCat('p', kProbedPrompt, '.', name);
      const Shape shape = tensors_.tensor(golden_name).shape;
      AddTensorCheck(golden_name, shape.size() == 3 ? HeadsFirst(values, shape) : values, kProbeTolerance, /*is_relative=*/true);
    }
    if (observed.probes.empty()) return;
    for (const std::string& name : ProbeNames()) {
      if (!observed.probes.contains(name)) Add({.name = StrCat('p', kProbedPrompt, '.', name), .worst = INFINITY, .tolerance = 0, .where = "the engine has no such probe", .is_ok = false});
    }
  }

  // A row's experts are compared as a set, and their weights by expert: the order within a row is free.
  void CheckExperts(const Observed& observed, const std::string& prefix) {
    const std::string golden_prefix = StrCat('p', kProbedPrompt, '.', prefix);
    const TensorView golden_ids = tensors_.tensor(golden_prefix + "expert_ids");
    const auto top_k = static_cast<size_t>(golden_ids.shape.back());
    const std::vector<float> golden_weights = ToF32(tensors_, golden_prefix + "expert_weights");
    const std::vector<float>&ids = observed.probes.at(prefix + "expert_ids"), &weights = observed.probes.at(prefix + "expert_weights");
    ParityCheck sets{.name = golden_prefix + "expert_ids", .worst = 0, .tolerance = 0, .where = {}, .is_ok = true};
    std::vector<float> found(golden_weights.size(), 0.0f);
    for (size_t i = 0; i < golden_weights.size(); ++i) {
      int32_t expert = 0;
      std::memcpy(&expert, golden_ids.bytes.data() + i * sizeof expert, sizeof expert);
      const size_t row = i / top_k * top_k;
      const auto match = std::find(ids.begin() + static_cast<ptrdiff_t>(row), ids.begin() + static_cast<ptrdiff_t>(row + top_k), static_cast<float>(expert));
      if (match != ids.begin() + static_cast<ptrdiff_t>(row + top_k)) {
        found[i] = weights[static_cast<size_t>(match - ids.begin())];
        continue;
      }
      sets.worst += 1;
      sets.where = StrCat("row ", i / top_k, ": expert ", expert, " was not chosen");
    }
    sets.is_ok = sets.worst == 0;
    Add(std::move(sets));
    AddTensorCheck(golden_prefix + "expert_weights", found, kProbeTolerance, /*is_relative=*/true);
  }

  // [rows, heads * dim] as the engine has it -> [heads, rows, dim] as the goldens have it.
  static std::vector<float> HeadsFirst(const std::vector<float>& values, const Shape& shape) {
    const int64_t heads = shape[0], rows = shape[1], dim = shape[2];
    if (static_cast<int64_t>(values.size()) != heads * rows * dim) return values;
    std::vector<float> out(values.size());
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t r = 0; r < rows; ++r) std::memcpy(&out[static_cast<size_t>((h * rows + r) * dim)], &values[static_cast<size_t>((r * heads + h) * dim)], static_cast<size_t>(dim) * sizeof(float));
    }
    return out;
  }

  void AddTensorCheck(const std::string& name, const std::vector<float>& actual, double tolerance, bool is_relative) {
    const TensorView tensor = tensors_.tensor(name);
    const std::vector<float> expected = ToF32(tensors_, name);
    if (actual.size() != expected.size()) {
      Add({.name = name, .worst = INFINITY, .tolerance = tolerance, .where = StrCat(actual.size(), " elements instead of ", tensor.shape), .is_ok = false});
      return;
    }
    const WorstElement worst = FindWorst(actual, expected);
    const double allowed = is_relative ? tolerance * worst.largest : tolerance;
    Add({.name = name, .worst = worst.error, .tolerance = allowed, .where = parity::Where(worst, tensor.shape.back()), .is_ok = worst.error <= allowed});
  }

  void CheckGreedy(size_t prompt) {
    const parity::GoldenPrompt& golden = golden_.prompts[prompt];
    GenerateRequest request{.prompt = golden.input_ids, .max_tokens = static_cast<int32_t>(golden.greedy_ids.size()), .sampling = {}, .stop_ids = {}, .chunk = 0, .all_logits = false, .on_token = {}, .on_prefill = {}};
    request.sampling.num_logprobs = 5;
    const GenerateResult result = Generate(*engine_, request);
    const auto [have, want] = std::mismatch(result.ids.begin(), result.ids.end(), golden.greedy_ids.begin(), golden.greedy_ids.end());
    const auto num_equal = want - golden.greedy_ids.begin();
    const bool is_equal = want == golden.greedy_ids.end() && have == result.ids.end();
    Add({.name = StrCat('p', prompt, ".greedy_ids"), .worst = static_cast<double>(golden.greedy_ids.size() - static_cast<size_t>(num_equal)), .tolerance = 0,
         .where = is_equal ? StrCat(num_equal, " tokens") : StrCat("first difference at token ", num_equal), .is_ok = is_equal});
    if (is_equal && !golden.top_logprobs.empty()) CheckLogprobs(prompt, result);
  }

  void CheckLogprobs(size_t prompt, const GenerateResult& result) {
    const auto& golden = golden_.prompts[prompt].top_logprobs;
    ParityCheck check{.name = StrCat('p', prompt, ".top_logprobs"), .worst = 0, .tolerance = kLogitTolerance, .where = {}, .is_ok = true};
    for (size_t step = 0; step < golden.size(); ++step) {
      for (const auto& [id, logprob] : golden[step]) {
        const auto& top = result.top_logprobs.at(step);
        const auto entry = std::find_if(top.begin(), top.end(), [id = id](const TokenLogprob& t) { return t.id == id; });
        const double error = entry == top.end() ? INFINITY : std::fabs(static_cast<double>(entry->logprob) - logprob);
        if (error <= check.worst) continue;
        check.worst = error;
        check.where = StrCat("step ", step, ", token ", id);
      }
    }
    check.is_ok = check.worst <= check.tolerance;
    Add(std::move(check));
  }

  const std::filesystem::path fixture_;
  const ParityOptions& options_;
  ParityReport& report_;
  const parity::Golden golden_;
  const checkpoint::SafetensorsFile tensors_;
  const TemporaryDirectory temporary_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace

ParityReport CompareFixture(const std::filesystem::path& fixture, const ParityOptions& options) {
  std::filesystem::path folder = fixture.lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();
  ParityReport report{.fixture = folder.filename().string(), .architecture = {}, .dtype = options.dtype, .isa = options.isa, .checks = {}, .error = {}};
  FixtureRun run(folder, options, report);
  try {
    run.Run();
  } catch (const Error& error) {
    report.error = error.what();
  }
  return report;
}

}  // namespace intaglio
