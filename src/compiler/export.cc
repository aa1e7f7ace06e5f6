// The driver of an export: checkpoint -> graphs -> plans -> packed weights -> bundle.
#include "compiler/export.h"

#include <algorithm>
#include <set>

#include "base/fail.h"
#include "bundle/bundle.h"
#include "compiler/export_options.h"
#include "compiler/layout.h"
#include "compiler/lower_cpu.h"
#include "compiler/pipeline.h"
#include "compiler/task.h"
#include "compiler/weight_formats.h"
#include "compiler/weight_packer.h"
#include "graph/print.h"

namespace intaglio {
namespace {

using checkpoint::Checkpoint;
using checkpoint::HfConfig;
using compiler::ResolvedOptions;

void Report(const ExportOptions& options, std::string_view stage, uint64_t done, uint64_t total) {
  if (options.on_progress) options.on_progress({.stage = stage, .done = done, .total = total});
}

// config.json as error messages name it; a GGUF file holds its own.
HfConfig ReadConfig(const ExportOptions& options, const Checkpoint& checkpoint) {
  const bool is_file = options.source.extension() == ".gguf";
  return HfConfig::Parse(checkpoint.config_json(), (is_file ? options.source : options.source / "config.json").string());
}

// What the parts of an export are made from.
struct Source {
  const ExportOptions& options;
  const ResolvedOptions& resolved;
  const models::Model& model;
  const Checkpoint& checkpoint;
  const compiler::WeightFormats& formats;
};

// One rank's graphs, one per phase and bucket, rewritten. All of their weights are in the checkpoint, with the shapes that config.json implies.
std::vector<graph::Graph> BuildGraphs(const Source& source, int rank) {
  std::vector<graph::Graph> graphs;
  std::vector<models::GraphSizes> sizes = GraphsOf(source.resolved, rank);
  const auto ranks = static_cast<size_t>(source.resolved.tp_degree);
  for (models::GraphSizes& size : sizes) {
    size.formats = [&source](const graph::Weight& weight) { return source.formats.Of(weight); };
    graphs.push_back(source.model.Build(size));
    compiler::CheckSources(graphs.back(), source.checkpoint);
    compiler::RunPipeline(graphs.back(), {.keep_probes = source.options.keep_probes});
    Report(source.options, "building graphs", static_cast<size_t>(rank) * sizes.size() + graphs.size(), ranks * sizes.size());
  }
  return graphs;
}

// The ids that end a text: generation_config.json decides, config.json where it does not say.
void ReadSpecialIds(const HfConfig& config, const Checkpoint& checkpoint, bundle::Manifest& manifest) {
  const auto first_or = [](const std::vector<int32_t>& ids, int32_t otherwise) { return ids.empty() ? otherwise : ids.front(); };
  manifest.eos_ids = config.Ids("eos_token_id");
  manifest.bos_id = first_or(config.Ids("bos_token_id"), -1);
  manifest.pad_id = first_or(config.Ids("pad_token_id"), -1);
  const auto file = checkpoint.companion_files().find("generation_config.json");
  if (file == checkpoint.companion_files().end()) return;
  const HfConfig generation = HfConfig::Parse(file->second, "generation_config.json");
  if (const auto ids = generation.Ids("eos_token_id"); !ids.empty()) manifest.eos_ids = ids;
}

// What a loaded tokenizer holds in memory (strings, hash tables, merges), from the size of its file without white space: the ratio of
// Gemma 3, 262,144 tokens, by resident memory (glibc 2.36, tokenizers 0.23, 2026-11).
uint64_t TokenizerBytes(const Checkpoint& checkpoint) {
  constexpr double kBytesPerFileByte = 6.8;
  const auto file = checkpoint.companion_files().find("tokenizer.json");
  if (file == checkpoint.companion_files().end()) return 0;
  const auto is_space = [](char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; };
  const auto num_spaces = std::count_if(file->second.begin(), file->second.end(), is_space);
  return static_cast<uint64_t>(kBytesPerFileByte * static_cast<double>(std::ssize(file->second) - num_spaces));
}

bundle::Manifest DescribeModel(const ExportOptions& options, const ResolvedOptions& resolved, const models::Model& model,
                               const Checkpoint& checkpoint) {
  bundle::Manifest m;
  m.compiler_version = INTAGLIO_VERSION;
  m.architecture = model.architecture();
  m.model_type = model.model_type();
  m.source = compiler::SourceName(options.source);
  m.source_hash = checkpoint.digest();
  m.vocab_size = model.vocab_size();
  m.hidden_size = model.hidden_size();
  m.num_layers = model.num_layers();
  m.max_context = resolved.max_context;
  m.max_slots = resolved.max_slots;
  m.speculation = resolved.speculation;
  m.prefill_buckets = resolved.prefill_buckets;
  m.batch_buckets = resolved.batch_buckets;
  if (const auto& embedder = model.embedder()) {
    m.embedding = bundle::EmbeddingEntry{.dim = embedder->dim(model.hidden_size()),
                                         .pooling = std::string(Name(embedder->pooling)),
                                         .is_normalised = embedder->is_normalised,
                                         .needs_whole_sequences = model.needs_whole_sequences()};
  }
  return m;
}

// What one rank computes with, and what the manifest says of it.
struct RankPart {
  std::vector<graph::Graph> graphs;
  compiler::WeightLayout weights;
  compiler::KvLayout kv;
  std::vector<bundle::Plan> plans;
  bundle::RankEntry entry;
};

bundle::RankEntry Describe(const RankPart& part) {
  constexpr std::string_view kLayoutNames[] = {"matmul", "vector", "table", "experts"};
  bundle::RankEntry entry{.kv_layers = part.kv.layers,
                          .states = part.kv.states,
                          .memory = {.weights = part.weights.file_bytes, .kv_cache = part.kv.pool_bytes},
                          .weights = {}};
  for (const compiler::PlacedWeight& placed : part.weights.weights) {
    entry.weights.push_back({.name = placed.weight.name,
                             .layout = std::string(kLayoutNames[static_cast<size_t>(placed.weight.layout)]),
                             .dtype = placed.weight.dtype,
                             .shape = placed.weight.shape,
                             .offset = placed.offset,
                             .bytes = placed.bytes});
  }
  for (const bundle::Plan& plan : part.plans) entry.memory.arena = std::max(entry.memory.arena, plan.arena_bytes);
  return entry;
}

// Parts of ranks are planned in order: the first one's KV groups are those of all, and each has the vocabulary after the one before.
RankPart PlanRank(const Source& source, const std::vector<RankPart>& before) {
  const ResolvedOptions& resolved = source.resolved;
  RankPart part{.graphs = BuildGraphs(source, static_cast<int>(before.size())), .weights = {}, .kv = {}, .plans = {}, .entry = {}};
  part.weights = compiler::PlaceWeights(part.graphs);
  const compiler::KvSizes sizes{.max_context = resolved.max_context,
                                .max_slots = resolved.max_slots,
                                .largest_step = std::max<int64_t>(resolved.prefill_buckets.back(), resolved.speculation + 1),
                                .kv_dtype = resolved.kv_dtype,
                                .speculation = resolved.speculation};
  part.kv = compiler::PlaceKvCache(part.graphs.front(), sizes, before.empty() ? std::vector<bundle::KvGroup>() : before.front().kv.groups);
  for (const graph::Graph& graph : part.graphs)
    part.plans.push_back(compiler::LowerToCpu(graph, {.weights = part.weights, .kv = part.kv, .keep_probes = source.options.keep_probes}));
  part.entry = Describe(part);
  const graph::Graph& first = part.graphs.front();
  if (resolved.tp_degree > 1 && !first.is_embedder()) {
    part.entry.vocab_begin = before.empty() ? 0 : before.back().entry.vocab_end;
    part.entry.vocab_end = part.entry.vocab_begin + first.value(first.logits).shape[1];
  }
  return part;
}

// Tensors that no layer of any rank declared, but for buffers that are computed anew.
std::vector<std::string> UnusedTensors(const std::vector<RankPart>& parts, const Checkpoint& checkpoint) {
  std::set<std::string> used;
  for (const RankPart& part : parts) {
    for (const compiler::PlacedWeight& placed : part.weights.weights) {
      for (const graph::WeightSource& source : placed.weight.sources) used.insert(source.name);
    }
  }
  std::vector<std::string> notes;
  for (const std::string& name : checkpoint.tensor_names()) {
    const bool is_buffer = name.ends_with("rotary_emb.inv_freq") || name.ends_with("position_ids");
    if (!used.contains(name) && !is_buffer) notes.push_back(StrCat("tensor ", name, " of the checkpoint is not used"));
  }
  return notes;
}

void WriteWeights(const Source& source, const std::vector<RankPart>& parts, const bundle::BundleWriter& writer) {
  ThreadPool pool(0);
  uint64_t total = 0, done_before = 0;
  for (const RankPart& part : parts) total += part.weights.file_bytes;
  const auto on_progress = [&](uint64_t done) { Report(source.options, "packing weights", done_before + done, total); };
  for (size_t rank = 0; rank < parts.size(); ++rank) {
    OutputFile file(writer.directory() / bundle::WeightsFile(static_cast<int>(rank)));
    PackWeights(parts[rank].weights, {.checkpoint = source.checkpoint, .pool = pool, .on_progress = on_progress}, file);
    file.Commit();
    done_before += parts[rank].weights.file_bytes;
    on_progress(0);
  }
}

// graph.txt: for people.
std::string PrintGraphs(const std::vector<RankPart>& parts) {
  std::string text;
  for (size_t rank = 0; rank < parts.size(); ++rank) {
    if (parts.size() > 1) text += StrCat("rank ", rank, "\n\n");
    for (const graph::Graph& graph : parts[rank].graphs) text += graph::Print(graph) + "\n";
  }
  return text;
}

void DescribeRanks(const std::vector<RankPart>& parts, const ResolvedOptions& resolved, bundle::Manifest& m) {
  m.tp_degree = resolved.tp_degree, m.ep_degree = resolved.ep_degree;
  m.kv_groups = parts.front().kv.groups;
  static_cast<bundle::RankEntry&>(m) = parts.front().entry;
  if (parts.size() == 1) return;
  m.format_version = 2;
  for (const RankPart& part : parts) m.ranks.push_back(part.entry);
}

// A rank may have none of the experts that there are.
void RequireExperts(const std::vector<RankPart>& parts) {
  const graph::Graph& graph = parts.front().graphs.front();
  const bool has_experts = std::ranges::any_of(parts, [](const RankPart& part) {
    return std::ranges::find(part.graphs.front().nodes, graph::Op::kExpertGroup, &graph::Node::op) != part.graphs.front().nodes.end();
  });
  Require(graph.capacity_factor == 0 || has_experts, ErrorCode::kInvalidArgument, "export: --capacity-factor ", graph.capacity_factor,
          " is for mixtures of experts; this model has none");
  Require(graph.expert_dispatch == graph::ExpertDispatch::kAuto || has_experts, ErrorCode::kInvalidArgument,
          "export: --expert-dispatch is for mixtures of experts; this model has none");
}

std::vector<graph::Weight> WeightsOf(const std::vector<RankPart>& parts) {
  std::vector<graph::Weight> weights;
  for (const RankPart& part : parts) {
    for (const compiler::PlacedWeight& placed : part.weights.weights) weights.push_back(placed.weight);
  }
  return weights;
}

}  // namespace

std::string compiler::SourceName(const std::filesystem::path& source) {
  const std::filesystem::path path = source.lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

ExportReport compiler::ReportOf(const ExportOptions& options, const bundle::Manifest& manifest, std::vector<std::string> notes) {
  ExportReport report{.bundle = options.output, .embeds = manifest.embedding.has_value(), .parity = manifest.parity, .notes = std::move(notes)};
  const auto add = [&](const bundle::MemoryPlan& memory) {
    report.weights_bytes += memory.weights, report.kv_cache_bytes += memory.kv_cache;
    report.arena_bytes += memory.arena, report.tokenizer_bytes += memory.tokenizer;
  };
  if (manifest.ranks.empty()) add(manifest.memory);
  for (const bundle::RankEntry& rank : manifest.ranks) add(rank.memory);
  return report;
}

ExportReport compiler::CompileBundle(const ExportOptions& options) {
  Report(options, "reading", 0, 1);
  const auto checkpoint = Checkpoint::Open(options.source);
  const HfConfig config = ReadConfig(options, *checkpoint);
  const auto model = compiler::ParseModelFor(options.task, config, *checkpoint, options.source.string());
  const ResolvedOptions resolved = compiler::Resolve(options, *model);
  const compiler::WeightFormats formats(options, *checkpoint);
  const Source source{.options = options, .resolved = resolved, .model = *model, .checkpoint = *checkpoint, .formats = formats};
  bundle::BundleWriter writer(options.output, options.force);

  std::vector<RankPart> parts;
  for (int rank = 0; rank < resolved.tp_degree; ++rank) parts.push_back(PlanRank(source, parts));
  const graph::Graph& first = parts.front().graphs.front();
  RequireExperts(parts);
  const std::vector<graph::Weight> weights = WeightsOf(parts);
  formats.RequireUse(weights);
  parts.front().entry.memory.tokenizer = TokenizerBytes(*checkpoint);

  bundle::Manifest manifest = DescribeModel(options, resolved, *model, *checkpoint);
  manifest.weight_format = formats.NameOf(weights);
  ReadSpecialIds(config, *checkpoint, manifest);
  DescribeRanks(parts, resolved, manifest);
  manifest.rope_switch = first.rope_switch, manifest.rope_follows_length = first.rope_follows_length;
  manifest.capacity_factor = resolved.capacity_factor;
  if (resolved.expert_dispatch != graph::ExpertDispatch::kAuto) manifest.expert_dispatch = options.expert_dispatch;

  for (size_t rank = 0; rank < parts.size(); ++rank)
    writer.AddFile(bundle::PlanFile(static_cast<int>(rank), resolved.tp_degree), SerializePlans(parts[rank].plans));
  const std::string graph_text = PrintGraphs(parts);
  writer.AddFile(bundle::kGraphFile, std::as_bytes(std::span(graph_text)));
  for (const auto& [name, contents] : checkpoint->companion_files()) writer.AddFile(name, std::as_bytes(std::span(contents)));
  WriteWeights(source, parts, writer);
  ExportReport report = ReportOf(options, manifest, UnusedTensors(parts, *checkpoint));
  const auto gate = [&](const std::filesystem::path& bundle) {
    Report(options, "validating", 0, 1);
    report.parity = options.gate(bundle);
    return *report.parity;
  };
  writer.Commit(manifest, options.gate ? bundle::BundleWriter::Gate(gate) : bundle::BundleWriter::Gate());
  return report;
}

}  // namespace intaglio
