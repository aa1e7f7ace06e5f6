#include "models/decoder.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "base/fail.h"
#include "graph/verify.h"
#include "layers/embedding.h"
#include "layers/shard.h"
#include "models/architecture.h"

namespace intaglio::models {
namespace {

using graph::Builder;
using graph::ValueRef;

void CheckSizes(const GraphSizes& sizes, int64_t max_position) {
  Require(sizes.rows >= 1 && sizes.outputs >= 1 && sizes.outputs <= sizes.rows, ErrorCode::kInvalidArgument, "graph: ", sizes.rows, " rows with ",
          sizes.outputs, " outputs; expected 1 <= outputs <= rows");
  Require(sizes.phase != Phase::kSpeculation || sizes.outputs == sizes.rows, ErrorCode::kInvalidArgument,
          "graph: speculation verifies every row, but outputs are ", sizes.outputs, " of ", sizes.rows, " rows");
  Require(sizes.max_context >= 1 && sizes.max_context <= max_position, ErrorCode::kInvalidArgument, "graph: max_context is ", sizes.max_context,
          "; this model allows 1 to ", max_position, " (max_position_embeddings)");
}

// Every rank has a part of the vocabulary, whatever else it has none of.
void CheckPlace(const graph::RankPlace& place, int64_t vocab_size) {
  layers::CheckDegrees(place.tp_degree, place.ep_degree);
  Require(place.rank >= 0 && place.rank < place.tp_degree, ErrorCode::kInvalidArgument, "graph: rank ", place.rank, " of ", place.tp_degree);
  graph::RankPlace other = place;
  for (other.rank = 0; other.rank < other.tp_degree; ++other.rank) {
    Require(!layers::Own(layers::PlainSegments(vocab_size), other).is_empty(), ErrorCode::kInvalidArgument, "a tensor-parallel degree of ",
            place.tp_degree, " is too much for a vocabulary of ", vocab_size, ": rank ", other.rank, " would have none of it");
  }
}

class DecoderModel final : public Model {
 public:
  DecoderModel(std::string name, const Architecture& architecture, DecoderConfig config, ModelOptions options)
      : name_(std::move(name)), architecture_(architecture), config_(std::move(config)), options_(std::move(options)) {}

  [[nodiscard]] std::string architecture() const override { return name_; }
  [[nodiscard]] std::string model_type() const override { return config_.model_type; }
  [[nodiscard]] int64_t vocab_size() const override { return config_.vocab_size; }
  [[nodiscard]] int64_t hidden_size() const override { return config_.hidden_size; }
  [[nodiscard]] int64_t num_layers() const override { return static_cast<int64_t>(config_.layers.size()); }
  [[nodiscard]] int64_t max_position() const override { return config_.max_position; }
  [[nodiscard]] const std::optional<EmbedderConfig>& embedder() const override { return options_.embedder; }
  [[nodiscard]] bool needs_whole_sequences() const override {
    return config_.sees_both_ways || (options_.embedder && options_.embedder->pooling != Pooling::kLast);
  }

  [[nodiscard]] graph::Graph Build(const GraphSizes& sizes) const override {
    CheckSizes(sizes, config_.max_position);
    CheckPlace(sizes.place, config_.vocab_size);
    graph::Graph graph;
    graph.phase = sizes.phase, graph.rows = sizes.rows, graph.outputs = sizes.outputs, graph.max_context = sizes.max_context;
    graph.capacity_factor = sizes.capacity_factor;
    graph.expert_dispatch = sizes.expert_dispatch;
    graph.place = sizes.place;
    graph.formats = sizes.formats;
    const Builder root(graph), model = options_.has_prefix ? root.In("model") : root;
    ValueRef x = root.Probe("hidden.embed", Embed(model));
    for (size_t i = 0; i < config_.layers.size(); ++i) {
      const Builder layer = model.InLayer(static_cast<int32_t>(i), architecture_.layer_list);
      x = root.Probe(StrCat("hidden.layer", i), architecture_.layer(layer, config_.layers[i], x));
    }
    if (options_.embedder) {
      FinishAsEmbedder(root, model, x, graph);
    } else {
      FinishAsDecoder(root, model, x, graph);
    }
    // A recurrent state is computed again from the tokens alone, which do not tell how long a prompt was.
    Require(graph.states.empty() || !graph.rope_follows_length, ErrorCode::kUnsupported, "config.json: rope_type \"dynamic\" is not supported for ",
            config_.model_type);
    ShareConstants(graph);
    graph.formats = {};   // every weight has its own by now
    graph::Verify(graph, "building");
    return graph;
  }

 private:
  // What an earlier graph of the model has in memory too is that graph's.
  void ShareConstants(graph::Graph& graph) const {
    const std::lock_guard lock(mutex_);
    for (graph::Weight& weight : graph.weights) {
      if (weight.constant == nullptr) continue;
      auto& shared = constants_[weight.name];
      if (shared == nullptr || (shared != weight.constant && *shared != *weight.constant)) shared = weight.constant;
      weight.constant = shared;
    }
  }

  [[nodiscard]] ValueRef Table(const Builder& model) const {
    return layers::VocabularyTable(model.In("embed_tokens"), config_.vocab_size, config_.hidden_size);
  }

  [[nodiscard]] ValueRef Embed(const Builder& model) const {
    if (architecture_.embeddings != nullptr) return architecture_.embeddings(model, config_);
    const ValueRef table = Table(model);
    return layers::VocabParallelEmbedding(model.In("embed_tokens"), {.table = table, .size = config_.vocab_size}, config_.embedding_scale);
  }

  void FinishAsDecoder(const Builder& root, const Builder& model, ValueRef x, graph::Graph& graph) const {
    const Builder lm_head = root.In("lm_head");
    // Only rows whose logits are wanted go on. In speculation that is every row, in the order of output_rows.
    x = root.Probe("hidden.final_norm", layers::RmsNorm(model.In(config_.norm_scope), GatherRows(model, x), config_.norm));
    const ValueRef head = config_.ties_embeddings ? Table(model) : layers::VocabularyTable(lm_head, config_.vocab_size, config_.hidden_size);
    ValueRef logits = Scale(lm_head, layers::VocabParallelHead(lm_head, x, head), config_.logits_scale);
    if (config_.logits_softcap != 0) logits = Softcap(lm_head, logits, config_.logits_softcap);
    const graph::Sampled sampled = Sample(root.In("sampler"), logits, graph.place.is_alone() ? 0 : config_.vocab_size);
    graph.logits = logits.id, graph.ids = sampled.ids.id, graph.logprobs = sampled.logprobs.id;
  }

  // The last token's row is taken before the norm, which then has one row to do; other poolings need all rows.
  void FinishAsEmbedder(const Builder& root, const Builder& model, ValueRef x, graph::Graph& graph) const {
    const EmbedderConfig& embedder = *options_.embedder;
    const bool is_last = embedder.pooling == Pooling::kLast;
    if (is_last) x = PoolRows(root.In("pooling"), x, embedder.pooling);
    if (architecture_.has_final_norm) x = layers::RmsNorm(model.In(config_.norm_scope), x, config_.norm);
    root.Probe("last_hidden_state", x);
    if (!is_last) x = PoolRows(root.In("pooling"), x, embedder.pooling);
    graph.embeddings = FinishEmbedding(root, x, embedder).id;
  }

  const std::string name_;
  const Architecture& architecture_;
  const DecoderConfig config_;
  const ModelOptions options_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, std::shared_ptr<const std::vector<float>>> constants_;   // by weight, as the latest graph has it
};

constexpr std::string_view kHeadless = "Model", kWithHead = "ForCausalLM";

// By its own name, or (a decoder saved without its head) by that of the model with one: MistralModel is MistralForCausalLM's.
const Architecture* Find(std::string_view name) {
  for (const Architecture* architecture : Architectures()) {
    if (std::ranges::find(architecture->hf_names, name) != architecture->hf_names.end()) return architecture;
  }
  if (!name.ends_with(kHeadless)) return nullptr;
  return Find(StrCat(name.substr(0, name.size() - kHeadless.size()), kWithHead));
}

}  // namespace

std::unique_ptr<Model> ParseModel(const checkpoint::HfConfig& config, ModelOptions options) {
  std::string name = config.architecture();
  const Architecture* architecture = Find(name);
  Require(architecture != nullptr, ErrorCode::kUnsupported, config.where(), ": unknown architecture \"", name,
          "\"; known: ", Join(KnownArchitectures()));
  DecoderConfig parsed = architecture->parse_config(config);
  Require(options.embedder || !(parsed.sees_both_ways || IsHeadless(config)), ErrorCode::kUnsupported, config.where(), ": ", name,
          " has no next token", parsed.sees_both_ways ? ", since its attention is bidirectional" : " without a head",
          "; it can be an embedder, if there is a modules.json of sentence-transformers beside it");
  return std::make_unique<DecoderModel>(std::move(name), *architecture, std::move(parsed), std::move(options));
}

bool IsHeadless(const checkpoint::HfConfig& config) {
  const std::string name = config.architecture();
  return Find(name) != nullptr && name.ends_with(kHeadless);
}

std::vector<std::string> KnownArchitectures() {
  std::vector<std::string> names;
  for (const Architecture* architecture : Architectures()) names.insert(names.end(), architecture->hf_names.begin(), architecture->hf_names.end());
  std::ranges::sort(names);
  return names;
}

}  // namespace intaglio::models
