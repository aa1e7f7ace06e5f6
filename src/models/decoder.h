// Any architecture -> its graphs: those of a decoder, or of an embedder. The only thing the compiler sees of the models.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/phase.h"
#include "checkpoint/hf_config.h"
#include "graph/graph.h"
#include "models/embedder.h"

namespace intaglio::models {

// One graph's fixed sizes. Context encoding and token generation: outputs <= rows; speculation: outputs == rows.
struct GraphSizes {
  Phase phase = Phase::kContextEncoding;
  int64_t rows = 0, outputs = 0, max_context = 0;
  double capacity_factor = 0;   // Graph::capacity_factor
  graph::RankPlace place{};     // whose graph it is
  graph::ExpertDispatch expert_dispatch = graph::ExpertDispatch::kAuto;   // of ranks that share out experts
  graph::FormatPolicy formats{};   // of matrices; none: f32
};

// What config.json leaves open.
struct ModelOptions {
  std::optional<EmbedderConfig> embedder;   // what its graphs end in, instead of next tokens
  bool has_prefix = true;                   // the checkpoint's names begin with "model.", as those of a model with a head do
};

// A parsed configuration, ready to build graphs. Immutable.
class Model {
 public:
  virtual ~Model() = default;
  [[nodiscard]] virtual std::string architecture() const = 0;   // "LlamaForCausalLM"
  [[nodiscard]] virtual std::string model_type() const = 0;     // "llama"
  [[nodiscard]] virtual int64_t vocab_size() const = 0;
  [[nodiscard]] virtual int64_t hidden_size() const = 0;
  [[nodiscard]] virtual int64_t num_layers() const = 0;
  [[nodiscard]] virtual int64_t max_position() const = 0;       // the model's own context limit
  [[nodiscard]] virtual const std::optional<EmbedderConfig>& embedder() const = 0;
  // A sequence must be in one step: its rows look at later ones, or are pooled.
  [[nodiscard]] virtual bool needs_whole_sequences() const = 0;
  // Throws Error kInvalidArgument for sizes that cannot be, and for degrees of parallelism that are not there or too many for the vocabulary.
  [[nodiscard]] virtual graph::Graph Build(const GraphSizes& sizes) const = 0;
};

// Throws Error kUnsupported for an unknown architecture (lists the known ones) and for an encoder that is no embedder, kDataLoss for missing
// or contradictory fields.
[[nodiscard]] std::unique_ptr<Model> ParseModel(const checkpoint::HfConfig& config, ModelOptions options = {});
// True if the architecture of config.json is known, and is a model without a head, which can do nothing but embed.
[[nodiscard]] bool IsHeadless(const checkpoint::HfConfig& config);
// Sorted Hugging Face names.
[[nodiscard]] std::vector<std::string> KnownArchitectures();

}  // namespace intaglio::models
