// intaglio compare: does this engine compute what Transformers computed for a checkpoint?
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>

#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/terminal.h"
#include "intaglio/parity.h"

namespace intaglio::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  intaglio compare --fixture tests/fixtures/llama-tiny
  intaglio compare --fixture tests/fixtures/llama-* --summary
  intaglio compare --fixture tests/fixtures/qwen3-tiny --dtype bf16 --json

A fixture is a checkpoint folder with golden.safetensors and golden.json; tests/fixtures/README.md says what is in them and how they are made.)";

struct CompareOptions {
  std::vector<std::filesystem::path> fixtures;
  ParityOptions parity;
  bool is_summary = false, is_json = false;
};

int RunCompare(const CompareOptions& options) {
  const InterruptGuard interrupt;
  std::vector<ParityReport> reports;
  ProgressBar progress;
  for (const std::filesystem::path& fixture : options.fixtures) {
    progress.Update(fixture.filename().string(), reports.size(), options.fixtures.size());
    reports.push_back(CompareFixture(fixture, options.parity));
    if (interrupt.is_interrupted()) return interrupt.exit_code();
  }
  progress.Clear();
  std::puts((options.is_json ? ToJson(reports) : ToMarkdown(reports, options.is_summary)).c_str());
  return std::all_of(reports.begin(), reports.end(), [](const ParityReport& report) { return report.is_ok(); }) ? 0 : 1;
}

}  // namespace

void AddCompareCommand(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand("compare", "Check a model against what Transformers computed for it");
  command->footer(kFooter);
  const auto options = std::make_shared<CompareOptions>();  // lives as long as the parser's callbacks
  command->add_option("--fixture", options->fixtures, "Fixture folders")->required();
  command->add_option("--dtype", options->parity.dtype, "Weights: f32 (default) or bf16")->check(CLI::IsMember({"f32", "bf16"}));
  command->add_option("--threads", options->parity.threads, "Threads (default: one per physical core)")->check(CLI::PositiveNumber);
  command->add_flag("--summary", options->is_summary, "One line a fixture, with its worst check");
  command->add_flag("--json", options->is_json, "All checks as JSON");
  command->callback([options, &chosen] { chosen = [options] { return RunCompare(*options); }; });
}

}  // namespace intaglio::cli
