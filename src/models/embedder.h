// What makes an embedder of a model: sentence-transformers' modules after the transformer (pooling, dense layers, unit length), as their
// own config files describe them, and as a graph's last nodes.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/hf_config.h"
#include "graph/builder.h"

namespace intaglio::models {

// The row, or rows, that stand for a text.
enum class Pooling : uint8_t { kFirst, kMean, kLast };
[[nodiscard]] std::string_view Name(Pooling pooling);   // as sentence-transformers says it: "cls", "mean", "lasttoken"

struct DenseConfig {
  std::string scope;              // its folder: "2_Dense"
  int64_t in_features = 0, out_features = 0;
  bool has_bias = true, has_tanh = false;
};

struct EmbedderConfig {
  Pooling pooling = Pooling::kMean;
  std::vector<DenseConfig> dense;
  bool is_normalised = false;     // embeddings have unit length

  // Columns of an embedding.
  [[nodiscard]] int64_t dim(int64_t hidden_size) const { return dense.empty() ? hidden_size : dense.back().out_features; }
};

// One entry of modules.json.
struct EmbedderModule {
  std::string type, path;         // "sentence_transformers.models.Pooling", "1_Pooling"
  checkpoint::HfConfig config;    // of that folder; empty where it has none
};

// Throws Error kUnsupported, naming the file, for modules, pooling modes and activations that are not here, kDataLoss for sizes that do not
// fit each other. `where`: of modules.json.
[[nodiscard]] EmbedderConfig ParseEmbedder(std::span<const EmbedderModule> modules, int64_t hidden_size, const std::string& where);

// From the rows of the last layer (after its norm, if all of them are needed) to a vector a sequence. `b` is in the checkpoint's root.
[[nodiscard]] graph::ValueRef PoolRows(const graph::Builder& b, graph::ValueRef x, Pooling pooling);
[[nodiscard]] graph::ValueRef FinishEmbedding(const graph::Builder& b, graph::ValueRef pooled, const EmbedderConfig& config);

}  // namespace intaglio::models
