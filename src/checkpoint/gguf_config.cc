#include "checkpoint/gguf_config.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "base/fail.h"
#include "checkpoint/gguf_names.h"
#include "checkpoint/json.h"

namespace intaglio::checkpoint {
namespace {

using nlohmann::json;

double Wavelength(double theta, size_t pair, size_t num_pairs) {
  return 2 * std::numbers::pi * std::pow(theta, static_cast<double>(pair) / static_cast<double>(num_pairs));
}

// What llama.cpp's converter stores for this wavelength (convert_hf_to_gguf.py, LlamaModel.generate_extra_tensors).
double ExpectedFactor(const Llama3Scaling& scaling, double wavelength) {
  const auto original = static_cast<double>(scaling.original_max_position_embeddings);
  if (wavelength < original / scaling.high_freq_factor) return 1.0;
  if (wavelength > original / scaling.low_freq_factor) return scaling.factor;
  const double smooth = (original / wavelength - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
  return 1.0 / ((1.0 - smooth) / scaling.factor + smooth);
}

bool Explains(const Llama3Scaling& scaling, std::span<const float> factors, double theta) {
  constexpr double kTolerance = 1e-4;  // the factors went through float32 powers
  for (size_t i = 0; i < factors.size(); ++i) {
    const double expected = ExpectedFactor(scaling, Wavelength(theta, i, factors.size()));
    if (!(std::abs(factors[i] - expected) <= kTolerance * expected)) return false;
  }
  return true;
}

// The original context that makes the first factor strictly between 1 and `factor` come out right; 0 if there is no such factor.
int64_t FromInterpolated(const Llama3Scaling& scaling, std::span<const float> factors, double theta) {
  for (size_t i = 0; i < factors.size(); ++i) {
    if (!(factors[i] > 1.001f && factors[i] < 0.999 * scaling.factor)) continue;
    const double smooth = (1.0 / factors[i] - 1.0 / scaling.factor) / (1.0 - 1.0 / scaling.factor);
    const double original =
        Wavelength(theta, i, factors.size()) * (scaling.low_freq_factor + smooth * (scaling.high_freq_factor - scaling.low_freq_factor));
    return original < 1e15 ? std::llround(original) : 0;
  }
  return 0;
}

// Far above any model, far below what would overflow a product of two.
constexpr int64_t kMaxSize = int64_t{1} << 31, kMaxLayers = 4096;

// Metadata under the architecture's own prefix.
class Metadata {
 public:
  explicit Metadata(const GgufFile& file) : file_(file), prefix_(file.architecture() + '.') {}

  [[nodiscard]] std::string Key(std::string_view name) const { return StrCat(prefix_, name); }
  [[nodiscard]] std::optional<int64_t> FindSize(std::string_view name) const {
    const auto size = file_.Int(Key(name));
    Require(!size.has_value() || (*size > 0 && *size <= kMaxSize), ErrorCode::kDataLoss, file_.where(), ": metadata ", Key(name), " is ",
            size.value_or(0), "; expected 1 to ", kMaxSize);
    return size;
  }
  [[nodiscard]] int64_t Size(std::string_view name) const {
    const auto size = FindSize(name);
    Require(size.has_value(), ErrorCode::kDataLoss, file_.where(), ": metadata ", Key(name), " is missing");
    return *size;
  }
  [[nodiscard]] std::optional<double> FindFloat(std::string_view name) const { return file_.Float(Key(name)); }
  [[nodiscard]] std::string String(std::string_view name, std::string_view otherwise) const {
    return std::string(file_.String(Key(name)).value_or(otherwise));
  }
  [[nodiscard]] const GgufFile& file() const { return file_; }

 private:
  const GgufFile& file_;
  std::string prefix_;
};

const GgufTensor* FindTensor(const GgufFile& file, const std::string& name) {
  const auto found = file.tensors().find(name);
  return found == file.tensors().end() ? nullptr : &found->second;
}

const GgufTensor& Embedding(const GgufFile& file) {
  const GgufTensor* embedding = FindTensor(file, "token_embd.weight");
  Require(embedding != nullptr && embedding->shape.size() == 2, ErrorCode::kDataLoss, file.where(), ": has no matrix token_embd.weight");
  return *embedding;
}

std::string DtypeName(GgmlType type) {
  if (type == GgmlType::kBF16) return "bfloat16";
  return type == GgmlType::kF16 ? "float16" : "float32";
}

int64_t HeadDim(const Metadata& metadata, int64_t hidden_size, int64_t num_heads) {
  const auto key_length = metadata.FindSize("attention.key_length");
  const int64_t head_dim = key_length.value_or(hidden_size / num_heads);
  Require(head_dim > 0, ErrorCode::kDataLoss, metadata.file().where(), ": ", num_heads, " heads do not fit a hidden size of ", hidden_size);
  const int64_t value_length = metadata.FindSize("attention.value_length").value_or(head_dim);
  const int64_t rotary = metadata.FindSize("rope.dimension_count").value_or(head_dim);
  Require(value_length == head_dim && rotary == head_dim, ErrorCode::kUnsupported, metadata.file().where(), ": heads of ", head_dim,
          " with values of ", value_length, " and ", rotary, " rotary dimensions are not supported; the three must be equal");
  return head_dim;
}

// Sizes and switches that all architectures share.
json CommonFields(const Metadata& metadata) {
  const GgufFile& file = metadata.file();
  const GgufTensor& embedding = Embedding(file);
  const int64_t hidden_size = metadata.Size("embedding_length"), num_heads = metadata.Size("attention.head_count");
  Require(embedding.shape[1] == hidden_size, ErrorCode::kDataLoss, file.where(), ": token_embd.weight is ", embedding.shape, ", but ",
          metadata.Key("embedding_length"), " is ", hidden_size);
  const int64_t num_layers = metadata.Size("block_count");
  Require(num_layers <= kMaxLayers, ErrorCode::kDataLoss, file.where(), ": metadata ", metadata.Key("block_count"), " is ", num_layers,
          "; expected at most ", kMaxLayers);
  const auto eps = metadata.FindFloat("attention.layer_norm_rms_epsilon");
  Require(eps.has_value(), ErrorCode::kDataLoss, file.where(), ": metadata ", metadata.Key("attention.layer_norm_rms_epsilon"), " is missing");
  json config{{"hidden_size", hidden_size},
              {"intermediate_size", metadata.Size("feed_forward_length")},
              {"num_hidden_layers", num_layers},
              {"num_attention_heads", num_heads},
              {"num_key_value_heads", metadata.FindSize("attention.head_count_kv").value_or(num_heads)},
              {"head_dim", HeadDim(metadata, hidden_size, num_heads)},
              {"max_position_embeddings", metadata.Size("context_length")},
              {"rms_norm_eps", *eps},
              {"vocab_size", embedding.shape[0]},
              {"tie_word_embeddings", FindTensor(file, "output.weight") == nullptr},
              {"torch_dtype", DtypeName(embedding.type)},
              {"use_cache", true}};
  for (const auto& [ours, theirs] : {std::pair("bos_token_id", "bos"), std::pair("eos_token_id", "eos"), std::pair("pad_token_id", "padding")}) {
    const auto id = file.Int(StrCat("tokenizer.ggml.", theirs, "_token_id"));
    config[ours] = id.has_value() ? json(*id) : json(nullptr);
  }
  return config;
}

// rope_scaling as the metadata states it, or as rope_freqs.weight implies it; null for none.
json RopeScaling(const Metadata& metadata, double theta) {
  const GgufFile& file = metadata.file();
  const std::string type = metadata.String("rope.scaling.type", "none");
  const GgufTensor* frequencies = FindTensor(file, "rope_freqs.weight");
  if (frequencies != nullptr) {
    Require(frequencies->type == GgmlType::kF32, ErrorCode::kUnsupported, file.where(), ": rope_freqs.weight is stored as ",
            Info(frequencies->type).name, "; expected F32");
    std::vector<float> factors(frequencies->bytes.size() / sizeof(float));
    Dequantize(GgmlType::kF32, frequencies->bytes, factors);
    if (std::all_of(factors.begin(), factors.end(), [](float factor) { return factor == 1.0f; })) return nullptr;
    const auto scaling = DeriveLlama3Scaling(factors, theta, metadata.FindSize("rope.scaling.original_context_length").value_or(0));
    Require(scaling.has_value(), ErrorCode::kUnsupported, file.where(),
            ": the rotary factors in rope_freqs.weight are not those of llama3 scaling with low_freq_factor 1 and "
            "high_freq_factor 4; export from the Hugging Face checkpoint instead");
    return {{"rope_type", "llama3"},
            {"factor", scaling->factor},
            {"low_freq_factor", scaling->low_freq_factor},
            {"high_freq_factor", scaling->high_freq_factor},
            {"original_max_position_embeddings", scaling->original_max_position_embeddings}};
  }
  const auto old_factor = metadata.FindFloat("rope.scale_linear");  // before scaling.type
  if (type == "none") return old_factor.value_or(1.0) == 1.0 ? json(nullptr) : json{{"rope_type", "linear"}, {"factor", *old_factor}};
  const auto factor = metadata.FindFloat("rope.scaling.factor");
  Require(factor.has_value(), ErrorCode::kDataLoss, file.where(), ": metadata ", metadata.Key("rope.scaling.factor"),
          " is missing beside rope.scaling.type ", Quoted(type));
  json scaling{{"rope_type", type}, {"factor", *factor}};
  const auto original = metadata.FindSize("rope.scaling.original_context_length");
  if (original.has_value()) scaling["original_max_position_embeddings"] = *original;
  return scaling;
}

void AddRope(const Metadata& metadata, double default_theta, json& config) {
  const double theta = metadata.FindFloat("rope.freq_base").value_or(default_theta);
  config["rope_theta"] = theta;
  config["rope_scaling"] = RopeScaling(metadata, theta);
}

void AddLlama(const Metadata& metadata, json& config) {
  // A window makes it Mistral; without one, Mistral is Llama.
  const auto window = metadata.FindSize("attention.sliding_window");
  config["architectures"] = json::array({window.has_value() ? "MistralForCausalLM" : "LlamaForCausalLM"});
  config["model_type"] = window.has_value() ? "mistral" : "llama";
  if (window.has_value()) config["sliding_window"] = *window;
  config["hidden_act"] = "silu";
  config["attention_bias"] = FindTensor(metadata.file(), "blk.0.attn_q.bias") != nullptr;
  config["mlp_bias"] = FindTensor(metadata.file(), "blk.0.ffn_up.bias") != nullptr;
  AddRope(metadata, 10000.0, config);
}

void AddQwen(const Metadata& metadata, json& config) {
  const bool is_qwen3 = metadata.file().architecture() == "qwen3";
  config["architectures"] = json::array({is_qwen3 ? "Qwen3ForCausalLM" : "Qwen2ForCausalLM"});
  config["model_type"] = metadata.file().architecture();
  config["hidden_act"] = "silu";
  config["sliding_window"] = nullptr;
  config["use_sliding_window"] = false;
  if (is_qwen3) config["attention_bias"] = FindTensor(metadata.file(), "blk.0.attn_q.bias") != nullptr;
  AddRope(metadata, 10000.0, config);
}

// "sliding_attention" or "full_attention" a layer. The pattern is every how many layers one is full, or a list of truth values.
std::vector<std::string> Gemma3LayerTypes(const Metadata& metadata, int64_t num_layers) {
  constexpr std::string_view kPattern = "attention.sliding_window_pattern";
  const GgufFile& file = metadata.file();
  std::vector<int64_t> is_sliding;
  if (file.is_array(metadata.Key(kPattern))) {
    is_sliding = *file.Ints(metadata.Key(kPattern));
    Require(std::ssize(is_sliding) == num_layers, ErrorCode::kDataLoss, file.where(), ": metadata ", metadata.Key(kPattern), " has ",
            is_sliding.size(), " entries for ", num_layers, " layers");
  } else {
    const int64_t period = metadata.FindSize(kPattern).value_or(6);
    for (int64_t layer = 0; layer < num_layers; ++layer) is_sliding.push_back((layer + 1) % period != 0 ? 1 : 0);
  }
  std::vector<std::string> types;
  for (const int64_t sliding : is_sliding) types.emplace_back(sliding != 0 ? "sliding_attention" : "full_attention");
  return types;
}

void AddGemma3(const Metadata& metadata, json& config) {
  constexpr int64_t kLayersOf27B = 62;  // the one size whose queries are scaled by hidden_size / heads, not by head_dim
  const int64_t num_layers = config["num_hidden_layers"].get<int64_t>();
  const int64_t head_dim = config["head_dim"].get<int64_t>();
  config["architectures"] = json::array({"Gemma3ForCausalLM"});
  config["model_type"] = "gemma3_text";
  config["hidden_activation"] = "gelu_pytorch_tanh";
  config["attention_bias"] = false;
  config["attn_logit_softcapping"] = nullptr;
  const auto softcap = metadata.FindFloat("final_logit_softcapping");
  config["final_logit_softcapping"] = softcap.has_value() ? json(*softcap) : json(nullptr);
  config["use_bidirectional_attention"] = false;
  config["query_pre_attn_scalar"] =
      num_layers == kLayersOf27B ? config["hidden_size"].get<int64_t>() / config["num_attention_heads"].get<int64_t>() : head_dim;
  config["sliding_window"] = metadata.Size("attention.sliding_window");
  config["layer_types"] = Gemma3LayerTypes(metadata, num_layers);
  config["rope_local_base_freq"] = metadata.FindFloat("rope.freq_base_swa").value_or(10000.0);
  AddRope(metadata, 1000000.0, config);
}

}  // namespace

std::optional<Llama3Scaling> DeriveLlama3Scaling(std::span<const float> factors, double theta, int64_t original_context) {
  if (factors.empty() || !(theta > 1)) return std::nullopt;
  Llama3Scaling scaling;  // every published model has low_freq_factor 1 and high_freq_factor 4
  const double factor = *std::max_element(factors.begin(), factors.end());
  // The converter writes the plain factor for the longest waves, so no rounding hides a whole or half number.
  if (!std::isfinite(factor) || !(factor > 1)) return std::nullopt;
  scaling.factor = factor;
  std::vector<int64_t> candidates{original_context, FromInterpolated(scaling, factors, theta)};
  for (int64_t power = 16; power <= int64_t{1} << 24; power *= 2) candidates.push_back(power);
  for (const int64_t candidate : candidates) {
    scaling.original_max_position_embeddings = candidate;
    if (candidate > 0 && Explains(scaling, factors, theta)) return scaling;
  }
  return std::nullopt;
}

std::string GgufConfigJson(const GgufFile& file) {
  const std::string architecture = file.architecture();
  const std::vector<std::string> known = KnownGgufArchitectures();
  Require(std::find(known.begin(), known.end(), architecture) != known.end(), ErrorCode::kUnsupported, file.where(), ": GGUF architecture ",
          Quoted(architecture), " is not supported; supported: ", Join(known));
  const Metadata metadata(file);
  json config = CommonFields(metadata);
  if (architecture == "gemma3") {
    AddGemma3(metadata, config);
  } else if (architecture == "llama") {
    AddLlama(metadata, config);
  } else {
    AddQwen(metadata, config);
  }
  return config.dump(2) + '\n';
}

}  // namespace intaglio::checkpoint
