// BERT: an encoder. Learned positions, layer norms after attention and MLP (with biases everywhere), plain MLP, keys on both sides visible.
// Every text is of token type 0. The pooler is not used: what pools is sentence-transformers' module.
// From transformers/models/bert/modeling_bert.py
#include <cmath>

#include "base/fail.h"
#include "layers/embedding.h"
#include "models/config_fields.h"

namespace intaglio::models {

using namespace layers;
using graph::Builder;
using graph::ValueRef;

namespace {

void RefuseUnsupported(const checkpoint::HfConfig& config) {
  const std::string positions = config.String("position_embedding_type", "absolute");
  Require(positions == "absolute", ErrorCode::kUnsupported, config.where(), ": position_embedding_type is \"", positions, "\"; supported: absolute");
  for (const char* key : {"is_decoder", "add_cross_attention"}) {
    Require(!config.Bool(key, false), ErrorCode::kUnsupported, config.where(), ": ", key, " is true; supported for BERT: false (encoders)");
  }
}

DecoderConfig ParseConfig(const checkpoint::HfConfig& config) {
  RefuseUnsupported(config);
  DecoderConfig encoder;
  encoder.model_type = config.String("model_type");
  encoder.vocab_size = Size(config, "vocab_size");
  encoder.hidden_size = Size(config, "hidden_size");
  encoder.max_position = Size(config, "max_position_embeddings");
  encoder.num_token_types = Size(config, "type_vocab_size", 2);
  encoder.sees_both_ways = true;
  encoder.norm = {.eps = PositiveNumber(config, "layer_norm_eps", 1e-12)};
  LayerConfig layer{.attention = {}, .mlp = {}, .norm = encoder.norm};
  layer.attention.heads = layer.attention.kv_heads = Size(config, "num_attention_heads");
  Require(encoder.hidden_size % layer.attention.heads == 0, ErrorCode::kDataLoss, config.where(), ": hidden_size ", encoder.hidden_size,
          " is not a multiple of num_attention_heads ", layer.attention.heads);
  layer.attention.head_dim = encoder.hidden_size / layer.attention.heads;
  layer.attention.scale = static_cast<float>(std::pow(static_cast<double>(layer.attention.head_dim), -0.5));
  layer.attention.qkv_bias = layer.attention.out_bias = Bias::kAdded;
  layer.attention.sees_both_ways = true;
  layer.attention.scopes = {.q = "self.query", .k = "self.key", .v = "self.value", .out = "output.dense"};
  layer.mlp = {
      .intermediate_size = Size(config, "intermediate_size"), .activation = ParseActivation(config, {.activation = "gelu"}), .bias = Bias::kAdded};
  encoder.layers.assign(LayerCount(config), layer);
  return encoder;
}

ValueRef Embeddings(const Builder& root, const DecoderConfig& c) {
  const Builder b = root.In("embeddings");
  const ValueRef words = VocabularyTable(b.In("word_embeddings"), c.vocab_size, c.hidden_size);
  const ValueRef x = VocabParallelEmbedding(b.In("word_embeddings"), {.table = words, .size = c.vocab_size}, 1.0f);
  const ValueRef positions =
      b.In("position_embeddings").Weight("weight", {c.max_position, c.hidden_size}, graph::Shard::kReplicated, graph::Layout::kTable);
  const ValueRef type =
      b.In("token_type_embeddings")
          .Declare({.name = "weight.0",
                    .shape = {c.hidden_size},
                    .layout = graph::Layout::kVector,
                    .sources = {
                        {.name = b.In("token_type_embeddings").In("weight").scope(), .shape = {c.num_token_types, c.hidden_size}, .num_rows = 1}}});
  return LayerNorm(b.In("LayerNorm"), AddPosition(b, x, positions, type), c.norm.eps);
}

ValueRef PostNormLayer(const Builder& b, const LayerConfig& c, ValueRef x) {
  const Builder attention = b.In("attention"), output = b.In("output");
  const ValueRef attended = SelfAttention(attention, x, c.attention);
  x = LayerNorm(attention.In("output.LayerNorm"), Add(b, attended, x), c.norm.eps);
  const ValueRef transformed = PlainMlp(b, x, c.mlp, {.up = "intermediate.dense", .down = "output.dense"});
  return LayerNorm(output.In("LayerNorm"), Add(b, transformed, x), c.norm.eps);
}

}  // namespace

extern const Architecture kBert{.hf_names = {"BertModel"},
                                .parse_config = ParseConfig,
                                .layer = PostNormLayer,
                                .embeddings = Embeddings,
                                .layer_list = "encoder.layer",
                                .has_final_norm = false};

}  // namespace intaglio::models
