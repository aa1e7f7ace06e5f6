#include "intaglio/inspect.h"

#include <algorithm>
#include <functional>
#include <map>
#include <sstream>
#include <tuple>

#include "base/mapped_file.h"
#include "base/strings.h"
#include "bundle/bundle.h"
#include "bundle/costs.h"
#include "kernels/attention_table.h"
#include "kernels/kv_layout.h"
#include "runtime/labelled_text.h"

namespace intaglio {
namespace {

using bundle::Bundle;
using bundle::Manifest;
using bundle::Plan;

constexpr int kNumberWidth = 12;

using runtime::LabelledText;

std::string Right(const std::string& text) { return std::string(text.size() < kNumberWidth ? kNumberWidth - text.size() : 0, ' ') + text; }

std::string Bytes(uint64_t bytes) { return StrCat(Right(FormatBytes(bytes)), "  (", bytes, " bytes)"); }

// " (q5_0 170.2 MiB, q8_0 …)": of matrices that are stored in groups, by size; empty where none is.
std::string Formats(const Manifest& m) {
  std::map<DType, uint64_t> bytes;
  for (const bundle::WeightEntry& weight : m.weights) {
    if (weight.layout == "matmul" || weight.layout == "experts") bytes[weight.dtype] += weight.bytes;
  }
  if (std::ranges::none_of(bytes, [](const auto& entry) { return IsQuantized(entry.first); })) return "";
  std::vector<std::pair<uint64_t, DType>> by_size;
  for (const auto& [dtype, size] : bytes) by_size.emplace_back(size, dtype);
  std::ranges::sort(by_size, std::greater());
  std::vector<std::string> parts;
  for (const auto& [size, dtype] : by_size) parts.push_back(StrCat(dtype, ' ', FormatBytes(size)));
  return StrCat(" (", Join(parts), ')');
}

void DescribeModel(const Bundle& bundle, LabelledText& text) {
  const Manifest& m = bundle.manifest;
  text.Heading(bundle.path.string());
  text.Line("model", m.architecture, " (", m.model_type, "), from ", m.source);
  text.Line("written by", "intaglio ", m.compiler_version, ", bundle format ", m.format_version);
  text.Line("weights", m.weight_format, Formats(m), ", ", m.numerics, " numerics, TP ", m.tp_degree, ", EP ", m.ep_degree);
  text.Line("shape", m.num_layers, " layers, hidden size ", m.hidden_size, ", vocabulary of ", m.vocab_size);
  text.Line("context", m.max_context, " tokens, ", m.max_slots, m.max_slots == 1 ? " slot" : " slots");
  if (m.embedding) {
    text.Line("embeds", m.embedding->dim, " columns, ", m.embedding->pooling, " pooling", m.embedding->is_normalised ? ", unit length" : "",
              m.embedding->needs_whole_sequences ? "; a text is whole in one step" : "");
    text.Line("buckets", "prefill ", Join(m.prefill_buckets));
    return;
  }
  text.Line("buckets", "prefill ", Join(m.prefill_buckets), "; batch ", Join(m.batch_buckets), "; speculation ",
            m.speculation == 0 ? "none" : StrCat(m.speculation, " proposed tokens"));
  if (m.capacity_factor != 0)
    text.Line("experts", "capacity factor ", m.capacity_factor, " in prefill: rows may lose experts, answers depend on steps");
}

void DescribeMemory(const bundle::MemoryPlan& memory, LabelledText& text) {
  text.Line("weights", Bytes(memory.weights)).Line("KV cache", Bytes(memory.kv_cache)).Line("arena", Bytes(memory.arena));
  text.Line("tokenizer", Bytes(memory.tokenizer)).Line("total", Bytes(memory.total()));
}

void DescribeMemory(const Manifest& m, LabelledText& text) {
  if (m.ranks.empty()) {
    text.Heading("Memory plan");
    return DescribeMemory(m.memory, text);
  }
  for (size_t rank = 0; rank < m.ranks.size(); ++rank) {
    text.Heading(StrCat("Memory plan of rank ", rank));
    DescribeMemory(m.ranks[rank].memory, text);
  }
}

// Those of one name and size share a line.
void DescribeStates(const Manifest& m, LabelledText& text) {
  std::map<std::tuple<std::string, int64_t, int64_t>, std::vector<const bundle::StateEntry*>> kinds;
  for (const bundle::StateEntry& state : m.states) kinds[{state.name, state.floats, state.entries}].push_back(&state);
  for (const auto& [kind, states] : kinds) {
    uint64_t bytes = 0;
    std::vector<int32_t> layers;
    for (const bundle::StateEntry* state : states) bytes += state->bytes, layers.push_back(state->layer);
    const auto& [name, floats, entries] = kind;
    text.Line(StrCat("state \"", name, '"'), floats, " floats, ", entries, " entries a slot, ", FormatBytes(bytes), ", layers ", Join(layers));
  }
}

void DescribeKvCache(const Manifest& m, LabelledText& text) {
  text.Heading(m.ranks.empty() ? "KV cache" : "KV cache of rank 0");
  for (size_t group = 0; group < m.kv_groups.size(); ++group) {
    uint64_t bytes = 0;
    std::vector<size_t> layers;
    DType dtype = DType::kF32;
    for (size_t layer = 0; layer < m.kv_layers.size(); ++layer) {
      if (m.kv_layers[layer].group != static_cast<int32_t>(group)) continue;
      dtype = m.kv_layers[layer].dtype;
      bytes += m.kv_layers[layer].bytes;
      layers.push_back(layer);
    }
    const bundle::KvGroup& g = m.kv_groups[group];
    text.Line(StrCat("group ", group), g.window == 0 ? "full attention" : StrCat("window of ", g.window), ", ", g.blocks_per_slot, " blocks a slot, ",
              FormatBytes(bytes), " of ", kernels::KvTypeName(dtype), ", layers ", Join(layers));
  }
  DescribeStates(m, text);
}

// How ranks bring what their experts made to the rows that chose them; empty where nothing has to travel. In a reduction a rank without
// experts does not even have the calls that route rows.
std::string DispatchOf(const std::vector<Bundle>& ranks, size_t plan) {
  const auto has = [&](std::string_view kernel) {
    return std::ranges::any_of(ranks, [&](const Bundle& rank) {
      const std::vector<bundle::Call>& calls = rank.plans[plan].calls;
      return std::ranges::find(calls, kernel, &bundle::Call::kernel) != calls.end();
    });
  };
  if (ranks.size() == 1 || !has("expert_combine")) return "";
  return has("expert_exchange") ? ", experts' results by exchange" : ", experts' results by reduce";
}

void DescribeGraphs(const std::vector<Bundle>& ranks, LabelledText& text) {
  const Bundle& bundle = ranks.front();
  text.Heading(bundle.manifest.ranks.empty() ? "Graphs" : "Graphs of rank 0");
  for (size_t i = 0; i < bundle.plans.size(); ++i) {
    const Plan& plan = bundle.plans[i];
    text.Line(StrCat(Name(plan.phase), "  "), plan.rows, " rows, ", plan.outputs, " outputs, ", plan.calls.size(), " kernel calls, arena ",
              FormatBytes(plan.arena_bytes), DispatchOf(ranks, i));
  }
}

void DescribeFiles(const Manifest& m, LabelledText& text) {
  text.Heading("Files (checksums fine)");
  for (const auto& [name, file] : m.files) text.Line(name, Right(FormatBytes(file.bytes)), "  ", file.hash);
}

void DescribeAccuracy(const TextAccuracy& accuracy, LabelledText& text) {
  text.Line("reference", accuracy.reference);
  text.Line("judged", accuracy.tokens, " tokens, in ", accuracy.windows, accuracy.windows == 1 ? " window" : " windows", " of ", accuracy.context);
  text.Line("KL divergence", "mean ", accuracy.kl_mean, ", 99 % below ", accuracy.kl_p99, ", worst ", accuracy.kl_worst, " nats");
  text.Line("same likeliest token", 100 * accuracy.top1_agreement, " %");
  text.Line("perplexity", accuracy.perplexity, ", reference ", accuracy.reference_perplexity, ", ratio ", accuracy.perplexity_ratio());
}

// What export --validate found.
void DescribeParity(const Manifest& m, LabelledText& text) {
  if (!m.parity) return;
  const ParityGate& gate = *m.parity;
  text.Heading(
      StrCat(gate.text ? "Accuracy on a text: " : "Parity with Transformers: ", gate.is_ok ? "ok" : "FAILED (runs only with --allow-failed-parity)"));
  text.Line(gate.text ? "text" : "capture", gate.capture, ", ", gate.capture_digest, ", computed by ", gate.isa);
  if (gate.text) {
    DescribeAccuracy(*gate.text, text);
  } else {
    text.Line("KL divergence", "mean ", gate.divergence_mean, ", worst ", gate.divergence_worst, " nats");
    text.Line("greedy tokens", gate.first_divergence < 0 ? std::string("all equal") : StrCat("first difference at token ", gate.first_divergence));
  }
  for (const GateCheck& check : gate.checks) {
    text.Line(check.kind, check.is_ok ? "ok" : "MISS", ", ", check.count, check.count == 1 ? " check" : " checks", ", worst ", check.worst,
              ", allowed ", check.tolerance);
  }
}

// What bench --all --store measured, a line for each graph of each machine.
void DescribeCosts(const std::vector<CostTable>& tables, LabelledText& text) {
  for (const CostTable& table : tables) {
    text.Heading(
        StrCat("Cost of a step, in milliseconds: ", table.cpu, ", ", table.isa, ", ", table.threads, table.threads == 1 ? " thread" : " threads"));
    std::map<std::pair<StepKind, int32_t>, std::string> lines;
    for (const StepCost& cost : table.steps) {
      std::string& line = lines[{cost.kind, cost.rows}];
      line += StrCat(line.empty() ? "" : ", ", cost.seconds * 1e3, " at depth ", cost.depth);
    }
    for (const auto& [graph, line] : lines) text.Line(StrCat(Name(graph.first), ", ", graph.second), line);
  }
}

// What `describe` says of a rank, after its number where there are several.
template <typename Describe>
std::string OfEachRank(const std::vector<Bundle>& ranks, const Describe& describe) {
  std::string text;
  for (const Bundle& bundle : ranks) text += StrCat(ranks.size() == 1 ? "" : StrCat("rank ", bundle.rank, "\n\n"), describe(bundle));
  return text;
}

std::string Weights(const Manifest& m) {
  std::ostringstream out;
  for (const bundle::WeightEntry& w : m.weights) {
    out << w.name << "  " << w.layout << ' ' << Name(w.dtype) << ' ' << w.shape << "  " << FormatBytes(w.bytes) << " at " << w.offset << '\n';
  }
  return std::move(out).str();
}

std::string Plans(const Bundle& bundle) {
  std::string text;
  for (const Plan& plan : bundle.plans) text += ToString(plan) + '\n';
  return text;
}

std::string Graphs(const Bundle& bundle) {
  const MappedFile file(bundle.path / bundle::kGraphFile);
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

// The table, then the row of every layer's attention; neighbours that are alike share a line.
std::string Attention(const Bundle& bundle) {
  std::vector<std::pair<std::string, std::vector<std::string>>> kinds;
  for (const bundle::Call& call : bundle.plans.front().calls) {
    if (call.kernel != "attention") continue;
    const bool has_sinks = call.operands.size() > 4 && call.operands[4].space != bundle::Space::kNone;
    const kernels::AttentionShape shape = kernels::ShapeOfAttention({.ints = call.ints, .floats = call.floats}, has_sinks);
    const kernels::AttentionRow* row = kernels::FindAttentionRow(shape);
    const std::string kind = StrCat(row == nullptr ? "not in the table" : row->name, ": ", kernels::ToString(shape));
    if (kinds.empty() || kinds.back().first != kind) kinds.emplace_back(kind, std::vector<std::string>());
    kinds.back().second.push_back(call.label);
  }
  std::string text = StrCat("Attention kernels\n", kernels::PrintAttentionTable(), "\n", bundle.path.string(), '\n');
  for (const auto& [kind, labels] : kinds) {
    text +=
        StrCat("  ", kind, "\n    ", labels.front(), labels.size() == 1 ? "" : StrCat(" … ", labels.back(), " (", labels.size(), " layers)"), '\n');
  }
  return text;
}

std::string Json(const Bundle& bundle) {
  std::vector<std::string> plans;
  for (const Plan& plan : bundle.plans) {
    plans.push_back(StrCat(R"({"phase": ")", Name(plan.phase), R"(", "rows": )", plan.rows, R"(, "outputs": )", plan.outputs, R"(, "calls": )",
                           plan.calls.size(), R"(, "arena_bytes": )", plan.arena_bytes, '}'));
  }
  return StrCat(R"({"manifest": )", ToJson(bundle.manifest), R"(, "plans": [)", Join(plans), R"(], "costs": )",
                bundle::ToJson(ReadCosts(bundle.path)), "}\n");
}

std::string Summary(const std::vector<Bundle>& ranks) {
  const Bundle& bundle = ranks.front();
  LabelledText text;
  DescribeModel(bundle, text);
  DescribeMemory(bundle.manifest, text);
  DescribeKvCache(bundle.manifest, text);
  DescribeGraphs(ranks, text);
  DescribeParity(bundle.manifest, text);
  DescribeCosts(ReadCosts(bundle.path), text);
  DescribeFiles(bundle.manifest, text);
  return std::move(text).str();
}

std::string Memory(const Manifest& manifest) {
  LabelledText text;
  DescribeMemory(manifest, text);
  return std::move(text).str();
}

}  // namespace

std::string Inspect(const std::filesystem::path& path, InspectView view) {
  const bool verifies = view != InspectView::kMemory;
  std::vector<Bundle> ranks;
  ranks.push_back(Bundle::Open(path, verifies));
  for (int rank = 1; rank < ranks.front().manifest.tp_degree; ++rank) ranks.push_back(Bundle::Open(path, verifies, rank));
  const Bundle& bundle = ranks.front();
  switch (view) {
    case InspectView::kSummary:
      return Summary(ranks);
    case InspectView::kMemory:
      return Memory(bundle.manifest);
    case InspectView::kPlan:
      return OfEachRank(ranks, Plans);
    case InspectView::kGraph:
      return Graphs(bundle);
    case InspectView::kAttention:
      return Attention(bundle);
    case InspectView::kWeights:
      return OfEachRank(ranks, [](const Bundle& rank) { return Weights(rank.manifest); });
    case InspectView::kJson:
      return Json(bundle);
  }
  return {};
}

}  // namespace intaglio
