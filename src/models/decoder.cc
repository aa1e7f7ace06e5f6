#include "models/decoder.h"

#include <algorithm>
#include <utility>

#include "base/fail.h"
#include "graph/verify.h"
#include "layers/embedding.h"
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

class DecoderModel final : public Model {
 public:
  DecoderModel(std::string name, const Architecture& architecture, DecoderConfig config)
      : name_(std::move(name)), architecture_(architecture), config_(std::move(config)) {}

  [[nodiscard]] std::string architecture() const override { return name_; }
  [[nodiscard]] std::string model_type() const override { return config_.model_type; }
  [[nodiscard]] int64_t vocab_size() const override { return config_.vocab_size; }
  [[nodiscard]] int64_t hidden_size() const override { return config_.hidden_size; }
  [[nodiscard]] int64_t num_layers() const override { return static_cast<int64_t>(config_.layers.size()); }
  [[nodiscard]] int64_t max_position() const override { return config_.max_position; }

  [[nodiscard]] graph::Graph Build(const GraphSizes& sizes) const override {
    CheckSizes(sizes, config_.max_position);
    graph::Graph graph;
    graph.phase = sizes.phase, graph.rows = sizes.rows, graph.outputs = sizes.outputs, graph.max_context = sizes.max_context;
    const Builder root(graph), model = root.In("model"), embed_tokens = model.In("embed_tokens"), lm_head = root.In("lm_head");
    const ValueRef table = layers::VocabularyTable(embed_tokens, config_.vocab_size, config_.hidden_size);
    ValueRef x = root.Probe("hidden.embed", layers::VocabParallelEmbedding(embed_tokens, table, config_.embedding_scale));
    for (size_t i = 0; i < config_.layers.size(); ++i) {
      x = root.Probe(StrCat("hidden.layer", i), architecture_.layer(model.InLayer(static_cast<int32_t>(i)), config_.layers[i], x));
    }
    // Only rows whose logits are wanted go on. In speculation that is every row, in the order of output_rows.
    x = root.Probe("hidden.final_norm", layers::RmsNorm(model.In(config_.norm_scope), GatherRows(model, x), config_.norm));
    const ValueRef head = config_.ties_embeddings ? table : layers::VocabularyTable(lm_head, config_.vocab_size, config_.hidden_size);
    ValueRef logits = layers::VocabParallelHead(lm_head, x, head);
    if (config_.logits_scale != 1) logits = Scale(lm_head, logits, config_.logits_scale);
    if (config_.logits_softcap != 0) logits = Softcap(lm_head, logits, config_.logits_softcap);
    const graph::Sampled sampled = Sample(root.In("sampler"), logits);
    graph.logits = logits.id, graph.ids = sampled.ids.id, graph.logprobs = sampled.logprobs.id;
    // A recurrent state is computed again from the tokens alone, which do not tell how long a prompt was.
    Require(graph.states.empty() || !graph.rope_follows_length, ErrorCode::kUnsupported, "config.json: rope_type \"dynamic\" is not supported for ",
            config_.model_type);
    graph::Verify(graph, "building");
    return graph;
  }

 private:
  const std::string name_;
  const Architecture& architecture_;
  const DecoderConfig config_;
};

}  // namespace

std::unique_ptr<Model> ParseModel(const checkpoint::HfConfig& config) {
  std::string name = config.architecture();
  for (const Architecture* architecture : Architectures()) {
    if (std::ranges::find(architecture->hf_names, name) == architecture->hf_names.end()) continue;
    return std::make_unique<DecoderModel>(std::move(name), *architecture, architecture->parse_config(config));
  }
  Fail(ErrorCode::kUnsupported, config.where(), ": unknown architecture \"", name, "\"; known: ", Join(KnownArchitectures()));
}

std::vector<std::string> KnownArchitectures() {
  std::vector<std::string> names;
  for (const Architecture* architecture : Architectures()) names.insert(names.end(), architecture->hf_names.begin(), architecture->hf_names.end());
  std::ranges::sort(names);
  return names;
}

}  // namespace intaglio::models
