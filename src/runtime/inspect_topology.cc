#include <algorithm>

#include "base/json_string.h"
#include "base/strings.h"
#include "bundle/bundle.h"
#include "intaglio/inspect.h"
#include "runtime/labelled_text.h"
#include "runtime/ranks/placement.h"

namespace intaglio {
namespace {

using bundle::Manifest;
using bundle::MemoryPlan;
using runtime::LabelledText;
using runtime::NumaNode;
using runtime::RankCpus;
using runtime::Topology;

std::string Count(size_t count, std::string_view what) { return StrCat(count, ' ', what, count == 1 ? "" : "s"); }

// "0-3, 8, 10-11"
std::string Runs(const std::vector<int>& cpus) {
  std::vector<std::string> runs;
  for (size_t begin = 0, end = 0; begin < cpus.size(); begin = end) {
    for (end = begin + 1; end < cpus.size() && cpus[end] == cpus[end - 1] + 1;) ++end;
    runs.push_back(end - begin == 1 ? StrCat(cpus[begin]) : StrCat(cpus[begin], '-', cpus[end - 1]));
  }
  return Join(runs);
}

// Numbers of the nodes on which a rank's threads may run.
std::vector<int> NodesOf(const Topology& machine, const RankCpus& place) {
  std::vector<int> numbers;
  for (const NumaNode& node : machine.nodes) {
    const auto is_here = [&](int cpu) { return std::ranges::find(node.usable_cpus, cpu) != node.usable_cpus.end(); };
    if (place.cpus.empty() ? !node.usable_cpus.empty() : std::ranges::any_of(place.cpus, is_here)) numbers.push_back(node.number);
  }
  return numbers;
}

std::vector<int> UsableCpusOf(const Topology& machine) {
  std::vector<int> cpus;
  for (const NumaNode& node : machine.nodes) cpus.insert(cpus.end(), node.usable_cpus.begin(), node.usable_cpus.end());
  std::ranges::sort(cpus);
  return cpus;
}

// A rank, where it computes and what it holds.
struct Row {
  RankCpus place;         // `cpus` is never empty, `num_threads` never 0
  bool is_bound = false;
  std::vector<int> nodes;
  MemoryPlan memory;
};

std::vector<Row> RowsOf(const Topology& machine, const Manifest& manifest, const EngineOptions& options) {
  const runtime::PlacementOptions placement = runtime::PlacementOptionsOf(options);
  const std::vector<RankCpus> places =
      manifest.tp_degree == 1 ? std::vector{runtime::PlaceSingleRank(placement)} : runtime::PlaceRanks(machine, manifest.tp_degree, placement);
  std::vector<Row> rows;
  for (size_t r = 0; r < places.size(); ++r) {
    Row& row = rows.emplace_back(Row{.place = places[r], .is_bound = !places[r].cpus.empty(), .nodes = NodesOf(machine, places[r]), .memory = {}});
    row.memory = manifest.ranks.empty() ? manifest.memory : manifest.ranks[r].memory;
    if (!row.is_bound) row.place.cpus = UsableCpusOf(machine);
    if (row.place.num_threads == 0) row.place.num_threads = static_cast<int>(row.place.cpus.size());
  }
  return rows;
}

std::string Suggestion(const Topology& machine) {
  const int num_ranks = runtime::SuggestedRanks(machine);
  if (num_ranks == 1) return {};
  return StrCat("this machine has ", machine.nodes.size(),
                " NUMA nodes: ranks that keep to one each, in one process, read memory faster; intaglio export … --tp ", num_ranks,
                " makes a bundle for them");
}

std::string ToText(const Topology& machine, const std::vector<Row>& rows, const bundle::Bundle& bundle) {
  LabelledText text;
  text.Heading("This machine");
  if (!machine.note.empty()) text.Line("note", machine.note);
  text.Line("sockets", machine.num_sockets);
  for (const NumaNode& node : machine.nodes) {
    text.Line(StrCat("NUMA node ", node.number), node.socket < 0 ? "" : StrCat("socket ", node.socket, ", "), FormatBytes(node.bytes), ", ",
              Count(static_cast<size_t>(node.num_cores), "core"), ", ",
              node.usable_cpus.empty() ? "no usable CPU" : StrCat("usable CPUs ", Runs(node.usable_cpus)));
  }
  if (machine.is_bound) text.Line("affinity", "leaves out CPUs that this process could have");
  text.Heading(bundle.path.string());
  for (size_t r = 0; r < rows.size(); ++r) {
    const Row& row = rows[r];
    text.Line(StrCat("rank ", r), row.nodes.size() == 1 ? "node " : "nodes ", Join(row.nodes), ", ",
              row.is_bound ? "bound to" : "not bound:", " CPUs ", Runs(row.place.cpus), ", ",
              Count(static_cast<size_t>(row.place.num_threads), "thread"));
    text.Line("", "weights ", FormatBytes(row.memory.weights), ", KV cache ", FormatBytes(row.memory.kv_cache), ", arena ",
              FormatBytes(row.memory.arena));
  }
  if (const std::string suggestion = Suggestion(machine); bundle.manifest.tp_degree == 1 && !suggestion.empty()) text.Heading(suggestion);
  return std::move(text).str();
}

std::string ToJson(const Topology& machine, const std::vector<Row>& rows) {
  std::vector<std::string> nodes, ranks;
  for (const NumaNode& node : machine.nodes) {
    nodes.push_back(StrCat(R"({"number": )", node.number, R"(, "socket": )", node.socket, R"(, "bytes": )", node.bytes, R"(, "cores": )",
                           node.num_cores, R"(, "usable_cpus": [)", Join(node.usable_cpus), "]}"));
  }
  for (const Row& row : rows) {
    ranks.push_back(StrCat(R"({"nodes": [)", Join(row.nodes), R"(], "cpus": [)", Join(row.place.cpus), R"(], "is_bound": )",
                           row.is_bound ? "true" : "false", R"(, "threads": )", row.place.num_threads, R"(, "weights_bytes": )", row.memory.weights,
                           R"(, "kv_cache_bytes": )", row.memory.kv_cache, R"(, "arena_bytes": )", row.memory.arena, '}'));
  }
  std::string note;
  AppendJsonString(note, machine.note);
  return StrCat(R"({"machine": {"sockets": )", machine.num_sockets, R"(, "is_bound": )", machine.is_bound ? "true" : "false", R"(, "note": )", note,
                R"(, "nodes": [)", Join(nodes), R"(]}, "ranks": [)", Join(ranks), R"(], "suggested_tp": )", runtime::SuggestedRanks(machine), "}\n");
}

}  // namespace

std::string InspectTopology(const std::filesystem::path& path, const EngineOptions& options, TopologyView view) {
  const bundle::Bundle bundle = bundle::Bundle::Open(path, /*verify_checksums=*/false);
  const Topology machine = runtime::ReadTopology();
  const std::vector<Row> rows = RowsOf(machine, bundle.manifest, options);
  return view == TopologyView::kJson ? ToJson(machine, rows) : ToText(machine, rows, bundle);
}

std::string SuggestRanks() { return Suggestion(runtime::ReadTopology()); }

}  // namespace intaglio
