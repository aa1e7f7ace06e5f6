// intaglio inspect: what is in a bundle.
#include "intaglio/inspect.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "cli/commands.h"
#include "cli/thread_options.h"

namespace intaglio::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  intaglio inspect gemma.bundle                           model, memory plan, KV cache, graphs, files
  intaglio inspect gemma.bundle --plan | less             every kernel call, with its place in memory
  intaglio inspect gemma.bundle --topology --bind numa    sockets, NUMA nodes, and the place of every rank's threads and memory
  intaglio inspect gemma.bundle --json | jq .manifest.memory)";

struct InspectOptions {
  std::filesystem::path bundle;
  bool plan = false, graph = false, attention = false, weights = false, json = false, topology = false;
  EngineOptions engine;   // of which the topology shows what they do

  [[nodiscard]] InspectView view() const {
    if (plan) return InspectView::kPlan;
    if (graph) return InspectView::kGraph;
    if (attention) return InspectView::kAttention;
    if (weights) return InspectView::kWeights;
    return json ? InspectView::kJson : InspectView::kSummary;
  }
};

int RunInspect(const InspectOptions& options) {
  const std::string text = options.topology
                               ? InspectTopology(options.bundle, options.engine, options.json ? TopologyView::kJson : TopologyView::kText)
                               : Inspect(options.bundle, options.view());
  std::fputs(text.c_str(), stdout);
  return 0;
}

}  // namespace

void AddInspectCommand(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand("inspect", "Show what is in a bundle, and check it");
  command->footer(kFooter);
  const auto options = std::make_shared<InspectOptions>();  // lives as long as the parser's callbacks
  command->add_option("BUNDLE", options->bundle, "Bundle directory")->required();
  CLI::Option_group* views = command->add_option_group("view", "Instead of the summary");
  views->add_flag("--plan", options->plan, "Kernel calls of every phase and bucket");
  views->add_flag("--graph", options->graph, "The graphs the plans were made from");
  views->add_flag("--attention", options->attention, "Which kernel serves which attention, and the layers of the bundle");
  views->add_flag("--weights", options->weights, "Every weight: layout, dtype, shape, place");
  CLI::Option* json = views->add_flag("--json", options->json, "Manifest and plans in figures (with --topology: that), as JSON");
  CLI::Option* topology = command->add_flag("--topology", options->topology, "This machine, and where the ranks of the bundle compute and hold what");
  for (CLI::Option* view : views->get_options()) {
    if (view != json) topology->excludes(view);
  }
  views->require_option(0, 1);
  for (CLI::Option* option : AddThreadOptions(command, options->engine)) option->needs(topology);
  command->callback([options, &chosen] { chosen = [options] { return RunInspect(*options); }; });
}

}  // namespace intaglio::cli
