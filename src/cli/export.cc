// intaglio export: a checkpoint to a bundle.
#include "intaglio/export.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "cli/commands.h"
#include "cli/export_options.h"
#include "cli/interrupt.h"
#include "cli/terminal.h"
#include "intaglio/accuracy.h"
#include "intaglio/inspect.h"
#include "intaglio/parity.h"

namespace intaglio::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  intaglio export ~/models/Llama-3.2-1B llama.bundle
  intaglio export gemma-3-270m-q4_k_m.gguf gemma.bundle --max-context 8192
  intaglio export ~/models/Qwen3-0.6B qwen.bundle --weights int8 --batch-buckets 1,4,16 --speculation 4
  intaglio export ~/models/Llama-3.2-1B llama.bundle --max-context 32768 --kv-dtype bf16
  intaglio export ~/models/all-MiniLM-L6-v2 minilm.bundle
  intaglio export ~/models/Llama-3.1-8B llama.bundle --tp 2              two ranks, e.g. one a socket
  intaglio export ~/models/Qwen3-0.6B qwen.bundle --validate capture     compare with Transformers, see intaglio compare --help
  intaglio export ~/models/Qwen3-0.6B qwen.bundle --validate book.txt --max-kl 0.01   compare with its own f32 bundle on a text

A checkpoint with the modules.json of sentence-transformers becomes an embedder, any other generates text; --task decides otherwise.
OUT appears only when it is whole. Ctrl-C leaves nothing behind. The same export a second time takes the bundle from the cache, see
intaglio cache --help; with --validate, a bundle is always made.)";

struct Interrupted {};

// What --validate is given is a capture if it is a folder, else a text.
struct Validation {
  std::filesystem::path path;
  std::filesystem::path against;
  std::optional<double> max_kl;
};

// Compares the new bundle; the export's report keeps the verdict. `options` must outlive the export.
std::function<ParityGate(const std::filesystem::path&)> MakeGate(const Validation& validation, const ExportOptions& options) {
  if (validation.path.empty()) return {};
  if (!std::filesystem::is_directory(validation.path)) {
    TextGate gate{.text = validation.path, .reference = validation.against};
    if (validation.max_kl) gate.max_kl = *validation.max_kl;
    return [gate, &options](const std::filesystem::path& bundle) { return JudgeOnText(bundle, options, gate); };
  }
  if (!validation.against.empty() || validation.max_kl)
    throw CLI::ValidationError("--against and --max-kl need a text for --validate, not a capture");
  return [capture = validation.path](const std::filesystem::path& bundle) { return Summarise(CompareBundle(bundle, capture)); };
}

// The last lines, and the exit code.
int Conclude(const ExportReport& report) {
  const std::string& bundle = report.bundle.string();
  if (!report.parity || report.parity->is_ok) {
    if (report.is_from_cache) std::printf("\nTaken from the cache (%s).", report.cache_key.c_str());
    const char *verb = report.embeds ? "embed" : "run", *option = report.embeds ? "--text" : "-p";
    std::printf("\nWrote %s. Try: intaglio %s %s %s \"Once upon a time\"\n", bundle.c_str(), verb, bundle.c_str(), option);
    return 0;
  }
  const ParityGate& gate = *report.parity;
  const std::string fault =
      gate.text ? "its answers are too far from those of " + gate.text->reference + " on " : "it does not compute what Transformers did for ";
  std::printf("\nWrote %s, but %s%s:\n", bundle.c_str(), fault.c_str(), gate.capture.c_str());
  for (const GateCheck& check : gate.checks) {
    if (!check.is_ok) std::printf("  %-24s worst %.3g, allowed %.3g\n", check.kind.c_str(), check.worst, check.tolerance);
  }
  std::printf("intaglio run refuses it without --allow-failed-parity.\n");
  return 1;
}

int RunExport(ExportOptions& options) {
  const InterruptGuard interrupt;
  ProgressBar progress;
  options.on_progress = [&](const ExportProgress& p) {
    if (interrupt.is_interrupted()) throw Interrupted();
    progress.Update(p.stage, p.done, p.total);
  };
  ExportReport report;
  try {
    report = Export(options);
  } catch (const Interrupted&) {
    progress.Clear();
    PrintNote("interrupted: nothing was written");
    return interrupt.exit_code();
  }
  progress.Clear();
  for (const std::string& note : report.notes) PrintNote("note: " + note);
  std::fputs(Inspect(report.bundle, InspectView::kMemory).c_str(), stdout);
  return Conclude(report);
}

std::shared_ptr<Validation> AddValidationOptions(CLI::App* command) {
  const auto validation = std::make_shared<Validation>();
  CLI::Option* validate =
      command
          ->add_option("--validate", validation->path,
                       "Compare the bundle with a capture of Transformers, or, given a text file, with the checkpoint's f32 bundle on that text; the "
                       "verdict becomes part of it")
          ->check(CLI::ExistingPath);
  command->add_option("--against", validation->against, "With a text: compare with this bundle instead, so that no f32 bundle has to be made")
      ->needs(validate)
      ->check(CLI::ExistingDirectory);
  command
      ->add_option("--max-kl", validation->max_kl,
                   "With a text: the mean KL divergence allowed, in nats; above it the export fails (default: it is only told)")
      ->needs(validate)
      ->check(CLI::NonNegativeNumber);
  return validation;
}

// Where nobody has chosen the number of ranks.
int RunExportAndSuggest(ExportOptions& options) {
  const int exit_code = RunExport(options);
  if (const std::string suggestion = SuggestRanks(); exit_code == 0 && !suggestion.empty()) PrintNote("note: " + suggestion);
  return exit_code;
}

}  // namespace

void AddExportCommand(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand("export", "Make a bundle from a Hugging Face checkpoint or a GGUF file");
  command->footer(kFooter);
  const auto options = std::make_shared<ExportOptions>();  // lives as long as the parser's callbacks
  const CLI::Option* tp = AddExportOptions(*command, *options);
  command->add_option("OUT", options->output, "Bundle directory to make")->required();
  command->add_flag("--force", options->force, "Replace an existing bundle");
  AddCacheOptions(*command, *options);
  const std::shared_ptr<Validation> validation = AddValidationOptions(command);
  command->callback([options, validation, tp, &chosen] {
    options->gate = MakeGate(*validation, *options);
    chosen = [options, has_chosen = tp->count() > 0] { return has_chosen ? RunExport(*options) : RunExportAndSuggest(*options); };
  });
}

}  // namespace intaglio::cli
