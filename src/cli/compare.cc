// intaglio compare: does this engine compute what Transformers computed for a checkpoint, and how far are two bundles of it apart?
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>

#include "base/output_file.h"
#include "cli/commands.h"
#include "cli/compare_text.h"
#include "cli/interrupt.h"
#include "cli/terminal.h"
#include "cli/thread_options.h"
#include "intaglio/parity.h"

namespace intaglio::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  intaglio compare --fixture tests/fixtures/llama-tiny
  intaglio compare --fixture tests/fixtures/llama-* --summary
  intaglio compare --fixture tests/fixtures/qwen3-tiny --dtype bf16 --json
  python -m intaglio.parity.capture ~/models/Llama-3.2-1B capture       needs torch and transformers
  intaglio compare llama.bundle capture --plot drift.svg
  intaglio compare ~/models/Llama-3.2-1B capture --modules              each module by itself, fed with its golden input
  intaglio compare llama-bf16.bundle --against llama-f32.bundle --text book.txt

A fixture is a checkpoint folder with golden.safetensors and golden.json; tests/fixtures/README.md says what is in them and how they are made.
A capture is a folder with these two files alone. Of a bundle that was exported with --keep-probes, inner values are compared too.

--against tells how far a bundle's next-token distributions are from those of another bundle of the model: KL divergence, agreement on the
likeliest token, perplexities. It does as llama-perplexity --kl-divergence does: the text is cut into windows of --context tokens, each beginning
with BOS where the model has one, and the second half of each window is judged.)";

struct CompareOptions {
  std::vector<std::filesystem::path> fixtures;
  std::filesystem::path bundle, capture, plot;
  std::vector<double> tolerances;
  ParityOptions parity;
  EngineOptions engine;   // threads
  TextComparison text;
  bool is_modules = false, is_summary = false, is_json = false;
};

void WritePlot(const std::filesystem::path& path, std::span<const ParityReport> reports) {
  OutputFile file(path);
  file.Write(DriftPlot(reports));
  file.Commit();
}

int RunAgainst(CompareOptions options) {
  options.text.bundle = options.bundle;
  options.text.accuracy.engine = options.engine;
  options.text.is_json = options.is_json;
  return RunTextComparison(std::move(options.text));
}

// Options of --against, which it returns.
CLI::Option* AddTextOptions(CLI::App* command, TextComparison& text) {
  CLI::Option* against = command->add_option("--against", text.reference, "Another bundle of the model, e.g. of f32 weights, to measure BUNDLE by");
  CLI::Option_group* inputs = command->add_option_group("text", "With --against, one of");
  inputs->add_option("--text", text.text, "UTF-8 text that both read")->needs(against)->check(CLI::ExistingFile);
  inputs->add_option("--ids", text.ids, "Its token ids instead, as a JSON list or between white space; needs no tokenizer")
      ->needs(against)
      ->check(CLI::ExistingFile);
  inputs->require_option(0, 1);
  command->add_option("--context", text.accuracy.context, "Tokens of a window (default 512, or what both bundles hold)")
      ->needs(against)
      ->check(CLI::PositiveNumber);
  command->add_option("--max-tokens", text.accuracy.max_tokens, "Use the first N tokens of the text (default: all)")
      ->needs(against)
      ->check(CLI::PositiveNumber);
  return against;
}

int RunCompare(CompareOptions options) {
  const InterruptGuard interrupt;
  std::copy(options.tolerances.begin(), options.tolerances.end(), options.parity.logit_tolerances.begin());
  options.parity.threads = options.engine.threads;
  options.parity.threads_per_rank = options.engine.threads_per_rank;
  options.parity.bind = options.engine.bind;
  std::vector<ParityReport> reports;
  ProgressBar progress;
  if (!options.bundle.empty()) {
    progress.Update("comparing", 0, 1);
    const auto compare = options.is_modules ? CompareModules : CompareBundle;
    reports.push_back(compare(options.bundle, options.capture, options.parity));
  }
  for (const std::filesystem::path& fixture : options.fixtures) {
    progress.Update(fixture.filename().string(), reports.size(), options.fixtures.size());
    reports.push_back(options.is_modules ? CompareModules(fixture, fixture, options.parity) : CompareFixture(fixture, options.parity));
    if (interrupt.is_interrupted()) return interrupt.exit_code();
  }
  progress.Clear();
  if (!options.plot.empty()) WritePlot(options.plot, reports);
  std::fputs((options.is_json ? ToJson(reports) : ToMarkdown(reports, options.is_summary)).c_str(), stdout);
  return std::all_of(reports.begin(), reports.end(), [](const ParityReport& report) { return report.is_ok(); }) ? 0 : 1;
}

}  // namespace

void AddCompareCommand(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand("compare", "Check a model against what Transformers computed for it, or measure two bundles of it");
  command->footer(kFooter);
  const auto options = std::make_shared<CompareOptions>();  // lives as long as the parser's callbacks
  CLI::Option* bundle = command->add_option("BUNDLE", options->bundle, "Bundle directory (with --modules: a checkpoint)");
  CLI::Option* capture = command->add_option("CAPTURE", options->capture, "What python -m intaglio.parity.capture recorded of its model");
  CLI::Option* against = AddTextOptions(command, options->text)->needs(bundle)->excludes(capture);
  command->add_option("--fixture", options->fixtures, "Fixture folders, instead of BUNDLE and CAPTURE")->excludes(bundle);
  command->add_flag("--modules", options->is_modules, "Compile each attention, MLP, norm and layer by itself, fed with its golden input");
  command->add_option("--dtype", options->parity.dtype, "Weights of a checkpoint: f32 (default) or bf16")->check(CLI::IsMember({"f32", "bf16"}));
  AddThreadOptions(command, options->engine);
  command
      ->add_option("--logit-tolerances", options->tolerances,
                   "Errors allowed at the 5, 50 and 1000 likeliest tokens and at all, e.g. 5e-4,5e-4,1e-3,1e-3 (default: what f32 rounding explains)")
      ->delimiter(',')
      ->expected(static_cast<int>(kLogitBands.size()))
      ->check(CLI::PositiveNumber);
  command->add_option("--plot", options->plot, "Draw the error of the residual stream by layer, as SVG");
  command->add_flag("--summary", options->is_summary, "One line a fixture, with its worst check");
  command->add_flag("--json", options->is_json, "All checks and figures as JSON");
  command->callback([options, against, &chosen] {
    if (against->count() > 0) {
      if (options->text.text.empty() && options->text.ids.empty()) throw CLI::RequiredError("--text FILE or --ids FILE");
      chosen = [options] { return RunAgainst(*options); };
      return;
    }
    if (options->capture.empty() && options->fixtures.empty()) throw CLI::RequiredError("BUNDLE CAPTURE, BUNDLE --against BUNDLE, or --fixture,");
    chosen = [options] { return RunCompare(*options); };
  });
}

}  // namespace intaglio::cli
