// What a family of models is: how its config.json reads, and what one decoder layer computes. Everything else is decoder.cc.
// A file in this folder that defines `extern const Architecture kName{…}` is registered by cmake/models.cmake.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/hf_config.h"
#include "graph/builder.h"
#include "layers/attention.h"
#include "layers/delta_net.h"
#include "layers/latent_attention.h"
#include "layers/mamba.h"
#include "layers/mlp.h"
#include "layers/moe.h"
#include "layers/norm.h"

namespace intaglio::models {

struct LayerConfig {
  layers::AttentionConfig attention;
  std::optional<layers::LatentAttentionConfig> latent_attention{};   // instead of it
  layers::MlpConfig mlp;
  layers::NormConfig norm;
  float residual_scale = 1.0f;              // of what attention and MLP add
  std::optional<layers::MoeConfig> moe{};   // instead of the MLP
  std::string mlp_scope = "mlp";            // of the MLP or the mixture of experts
  std::optional<layers::DeltaNetConfig> linear_attention{};   // instead of attention
  std::optional<layers::MambaConfig> mamba{};             // beside attention
  float attention_in_scale = 1.0f, attention_out_scale = 1.0f;
};

struct DecoderConfig {
  std::string model_type;
  int64_t vocab_size = 0, hidden_size = 0, max_position = 0;
  int64_t num_token_types = 0;      // rows of BERT's table of them
  bool ties_embeddings = false;     // the head is the embedding's table
  bool sees_both_ways = false;      // an encoder: no next tokens, and a sequence must be whole in one step
  float embedding_scale = 1.0f;
  float logits_scale = 1.0f, logits_softcap = 0.0f;   // softcap 0: none
  layers::NormConfig norm;          // the final one
  std::string norm_scope = "norm";
  std::vector<LayerConfig> layers;
};

struct Architecture {
  std::vector<std::string_view> hf_names;   // of config.json's "architectures"
  DecoderConfig (*parse_config)(const checkpoint::HfConfig& config);
  // Residual stream in, residual stream out, in the scope "model.layers.<i>".
  graph::ValueRef (*layer)(const graph::Builder& b, const LayerConfig& config, graph::ValueRef x);
  // Models without a head ("…Model") alone may set these: they can only embed.
  // What enters layer 0, and whatever else stands where a decoder has its table; null: the table's rows, scaled.
  graph::ValueRef (*embeddings)(const graph::Builder& b, const DecoderConfig& config) = nullptr;
  std::string_view layer_list = "layers";   // the checkpoint's word for it
  bool has_final_norm = true;
};

// All of them, in no particular order.
[[nodiscard]] std::span<const Architecture* const> Architectures();

}  // namespace intaglio::models
