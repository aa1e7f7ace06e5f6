#include "checkpoint/gguf_names.h"

#include <algorithm>
#include <span>

#include "base/fail.h"
#include "checkpoint/json.h"

namespace intaglio::checkpoint {
namespace {

// "blk.3.attn_q" -> "model.layers.3.self_attn.q_proj"; a suffix .weight or .bias is kept.
struct Rename {
  std::string_view gguf, hf;
};

constexpr Rename kWholeModel[] = {{"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}};

constexpr Rename kLlamaLayer[] = {{"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},      {"attn_k", "self_attn.k_proj"},
                                  {"attn_v", "self_attn.v_proj"},      {"attn_output", "self_attn.o_proj"}, {"ffn_norm", "post_attention_layernorm"},
                                  {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},           {"ffn_down", "mlp.down_proj"},
                                  {"attn_q_norm", "self_attn.q_norm"}, {"attn_k_norm", "self_attn.k_norm"}};

constexpr Rename kGemma3Layer[] = {{"attn_norm", "input_layernorm"},
                                   {"attn_q", "self_attn.q_proj"},
                                   {"attn_k", "self_attn.k_proj"},
                                   {"attn_v", "self_attn.v_proj"},
                                   {"attn_output", "self_attn.o_proj"},
                                   {"post_attention_norm", "post_attention_layernorm"},
                                   {"ffn_norm", "pre_feedforward_layernorm"},
                                   {"ffn_gate", "mlp.gate_proj"},
                                   {"ffn_up", "mlp.up_proj"},
                                   {"ffn_down", "mlp.down_proj"},
                                   {"post_ffw_norm", "post_feedforward_layernorm"},
                                   {"attn_q_norm", "self_attn.q_norm"},
                                   {"attn_k_norm", "self_attn.k_norm"}};

struct Family {
  std::string_view architecture;
  std::span<const Rename> layer;
  bool is_permuted = false;      // convert_hf_to_gguf.py, LlamaModel.permute
  bool has_shifted_norms = false;  // convert_hf_to_gguf.py, Gemma*Model.modify_tensors
};

constexpr Family kFamilies[] = {
    {.architecture = "gemma3", .layer = kGemma3Layer, .has_shifted_norms = true},
    {.architecture = "llama", .layer = kLlamaLayer, .is_permuted = true},
    {.architecture = "qwen2", .layer = kLlamaLayer},
    {.architecture = "qwen3", .layer = kLlamaLayer},
};

const Family& FindFamily(std::string_view architecture, std::string_view where) {
  const auto* found =
      std::find_if(std::begin(kFamilies), std::end(kFamilies), [&](const Family& family) { return family.architecture == architecture; });
  Require(found != std::end(kFamilies), ErrorCode::kUnsupported, where, ": GGUF architecture ", Quoted(architecture),
          " is not supported; supported: ", Join(KnownGgufArchitectures()));
  return *found;
}

std::string_view Lookup(std::span<const Rename> renames, std::string_view gguf) {
  const auto found = std::find_if(renames.begin(), renames.end(), [&](const Rename& rename) { return rename.gguf == gguf; });
  return found == renames.end() ? std::string_view() : found->hf;
}

// "blk.12.attn_q" -> "12", "attn_q"; an empty layer if it is no layer's.
struct Parts {
  std::string_view layer, module;
};
Parts SplitLayer(std::string_view stem) {
  constexpr std::string_view kPrefix = "blk.";
  if (!stem.starts_with(kPrefix)) return {{}, stem};
  const std::string_view rest = stem.substr(kPrefix.size());
  const size_t digits = std::min(rest.find_first_not_of("0123456789"), rest.size());
  const bool is_number = digits > 0 && (rest[0] != '0' || digits == 1) && digits < rest.size() && rest[digits] == '.';
  return is_number ? Parts{rest.substr(0, digits), rest.substr(digits + 1)} : Parts{{}, stem};
}

GgufTransform TransformOf(const Family& family, std::string_view module) {
  if (family.is_permuted && module == "attn_q") return GgufTransform::kUnpermuteQuery;
  if (family.is_permuted && module == "attn_k") return GgufTransform::kUnpermuteKey;
  if (family.has_shifted_norms && module.ends_with("norm")) return GgufTransform::kMinusOne;
  return GgufTransform::kNone;
}

}  // namespace

std::vector<std::string> KnownGgufArchitectures() {
  std::vector<std::string> names;
  for (const Family& family : kFamilies) names.emplace_back(family.architecture);
  return names;
}

GgufRename RenameGgufTensor(std::string_view architecture, std::string_view name, std::string_view where) {
  const Family& family = FindFamily(architecture, where);
  if (name == "rope_freqs.weight") return {};
  const size_t dot = std::min(name.rfind('.'), name.size());
  const std::string_view stem = name.substr(0, dot), suffix = name.substr(dot);
  const auto [layer, module] = SplitLayer(stem);
  const std::string_view hf = layer.empty() ? Lookup(kWholeModel, module) : Lookup(family.layer, module);
  Require(!hf.empty() && (suffix == ".weight" || suffix == ".bias"), ErrorCode::kUnsupported, where, ": tensor ", Quoted(name), " has no place in a ",
          architecture, " model as known here; is it a mixture of experts or another variant?");
  const std::string prefix = layer.empty() ? std::string() : StrCat("model.layers.", layer, '.');
  return {.name = StrCat(prefix, hf, suffix), .transform = TransformOf(family, module)};
}

}  // namespace intaglio::checkpoint
