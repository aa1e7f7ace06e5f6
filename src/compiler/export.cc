// The driver of an export: checkpoint -> graphs -> plans -> packed weights -> bundle.
#include "intaglio/export.h"

#include <algorithm>
#include <set>

#include "base/fail.h"
#include "bundle/bundle.h"
#include "compiler/export_options.h"
#include "compiler/layout.h"
#include "compiler/lower_cpu.h"
#include "compiler/pipeline.h"
#include "compiler/task.h"
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

// One graph per phase and bucket, rewritten. All of their weights are in the checkpoint, with the shapes that config.json implies.
std::vector<graph::Graph> BuildGraphs(const ExportOptions& options, const ResolvedOptions& resolved, const models::Model& model,
                                      const Checkpoint& checkpoint) {
  std::vector<graph::Graph> graphs;
  const std::vector<models::GraphSizes> sizes = GraphsOf(resolved);
  for (const models::GraphSizes& size : sizes) {
    graphs.push_back(model.Build(size));
    compiler::CheckSources(graphs.back(), checkpoint);
    compiler::RunPipeline(graphs.back(), {.keep_probes = options.keep_probes});
    Report(options, "building graphs", graphs.size(), sizes.size());
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
  std::filesystem::path source = options.source.lexically_normal();
  if (!source.has_filename()) source = source.parent_path();
  m.compiler_version = INTAGLIO_VERSION;
  m.architecture = model.architecture();
  m.model_type = model.model_type();
  m.source = source.filename().string();
  m.source_hash = checkpoint.digest();
  m.weight_dtype = resolved.dtype;
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

void DescribeMemory(const compiler::WeightLayout& weights, const compiler::KvLayout& kv, bundle::Manifest& m) {
  constexpr std::string_view kLayoutNames[] = {"matmul", "vector", "table", "experts"};
  for (const compiler::PlacedWeight& placed : weights.weights) {
    m.weights.push_back({.name = placed.weight.name,
                         .layout = std::string(kLayoutNames[static_cast<size_t>(placed.weight.layout)]),
                         .dtype = placed.dtype,
                         .shape = placed.weight.shape,
                         .offset = placed.offset,
                         .bytes = placed.bytes});
  }
  m.kv_groups = kv.groups;
  m.kv_layers = kv.layers;
  m.states = kv.states;
  m.memory.weights = weights.file_bytes;
  m.memory.kv_cache = kv.pool_bytes;
}

// Tensors that no layer declared, but for buffers that are computed anew.
std::vector<std::string> UnusedTensors(const compiler::WeightLayout& weights, const Checkpoint& checkpoint) {
  std::set<std::string> used;
  for (const compiler::PlacedWeight& placed : weights.weights) {
    for (const graph::WeightSource& source : placed.weight.sources) used.insert(source.name);
  }
  std::vector<std::string> notes;
  for (const std::string& name : checkpoint.tensor_names()) {
    const bool is_buffer = name.ends_with("rotary_emb.inv_freq") || name.ends_with("position_ids");
    if (!used.contains(name) && !is_buffer) notes.push_back(StrCat("tensor ", name, " of the checkpoint is not used"));
  }
  return notes;
}

void WriteWeights(const ExportOptions& options, const compiler::WeightLayout& layout, const Checkpoint& checkpoint,
                  const bundle::BundleWriter& writer) {
  ThreadPool pool(0);
  OutputFile file(writer.directory() / bundle::WeightsFile(0));
  const auto on_progress = [&](uint64_t done) { Report(options, "packing weights", done, layout.file_bytes); };
  PackWeights(layout, {.checkpoint = checkpoint, .pool = pool, .on_progress = on_progress}, file);
  file.Commit();
  Report(options, "packing weights", layout.file_bytes, layout.file_bytes);
}

void RequireExperts(const graph::Graph& graph) {
  const bool has_experts = std::ranges::any_of(graph.nodes, [](const graph::Node& node) { return node.op == graph::Op::kExpertGroup; });
  Require(graph.capacity_factor == 0 || has_experts, ErrorCode::kInvalidArgument, "export: --capacity-factor ", graph.capacity_factor,
          " is for mixtures of experts; this model has none");
}

}  // namespace

ExportReport Export(const ExportOptions& options) {
  Report(options, "reading", 0, 1);
  const auto checkpoint = Checkpoint::Open(options.source);
  const HfConfig config = ReadConfig(options, *checkpoint);
  const auto model = compiler::ParseModelFor(options.task, config, *checkpoint, options.source.string());
  const ResolvedOptions resolved = compiler::Resolve(options, *model, *checkpoint);
  bundle::BundleWriter writer(options.output, options.force);

  const std::vector<graph::Graph> graphs = BuildGraphs(options, resolved, *model, *checkpoint);
  RequireExperts(graphs.front());
  const compiler::WeightLayout weights = compiler::PlaceWeights(graphs, resolved.dtype);
  const int64_t largest_step = std::max<int64_t>(resolved.prefill_buckets.back(), resolved.speculation + 1);
  const compiler::KvLayout kv = compiler::PlaceKvCache(
      graphs.front(),
      {.max_context = resolved.max_context, .max_slots = resolved.max_slots, .largest_step = largest_step, .speculation = resolved.speculation});

  bundle::Manifest manifest = DescribeModel(options, resolved, *model, *checkpoint);
  ReadSpecialIds(config, *checkpoint, manifest);
  DescribeMemory(weights, kv, manifest);
  manifest.rope_switch = graphs.front().rope_switch, manifest.rope_follows_length = graphs.front().rope_follows_length;
  manifest.capacity_factor = resolved.capacity_factor;
  manifest.memory.tokenizer = TokenizerBytes(*checkpoint);
  std::vector<bundle::Plan> plans;
  std::string graph_text;
  for (const graph::Graph& graph : graphs) {
    plans.push_back(compiler::LowerToCpu(graph, {.weights = weights, .kv = kv, .keep_probes = options.keep_probes}));
    manifest.memory.arena = std::max(manifest.memory.arena, plans.back().arena_bytes);
    graph_text += graph::Print(graph) + "\n";
  }

  writer.AddFile(bundle::kPlanFile, SerializePlans(plans));
  writer.AddFile(bundle::kGraphFile, std::as_bytes(std::span(graph_text)));
  for (const auto& [name, contents] : checkpoint->companion_files()) writer.AddFile(name, std::as_bytes(std::span(contents)));
  WriteWeights(options, weights, *checkpoint, writer);
  std::optional<ParityGate> parity;
  const auto gate = [&](const std::filesystem::path& bundle) {
    Report(options, "validating", 0, 1);
    parity = options.gate(bundle);
    return *parity;
  };
  writer.Commit(manifest, options.gate ? bundle::BundleWriter::Gate(gate) : bundle::BundleWriter::Gate());
  return {.bundle = options.output,
          .embeds = manifest.embedding.has_value(),
          .weights_bytes = manifest.memory.weights,
          .kv_cache_bytes = manifest.memory.kv_cache,
          .arena_bytes = manifest.memory.arena,
          .tokenizer_bytes = manifest.memory.tokenizer,
          .parity = std::move(parity),
          .notes = UnusedTensors(weights, *checkpoint)};
}

}  // namespace intaglio
