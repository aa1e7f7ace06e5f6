// What a config.json may and may not say: each case edits a sound one.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "checkpoint/hf_config.h"
#include "intaglio/error.h"
#include "models/decoder.h"

namespace intaglio::models {
namespace {

using nlohmann::json;

json Load(const std::string& fixture) {
  std::ifstream file(INTAGLIO_SOURCE_DIR "/tests/fixtures/" + fixture + "/config.json");
  return json::parse(file);
}

json Edited(const std::string& fixture, const json& edits) {
  json config = Load(fixture);
  for (const auto& [key, value] : edits.items()) {
    if (value == "absent") {
      config.erase(key);
    } else {
      config[key] = value;
    }
  }
  return config;
}

std::unique_ptr<Model> Parse(const json& config) { return ParseModel(checkpoint::HfConfig::Parse(config.dump(), "config.json")); }

// The window of each layer.
std::vector<int64_t> Windows(const json& config) {
  std::vector<int64_t> windows;
  for (const graph::KvCache& cache : Parse(config)->Build({.rows = 1, .outputs = 1, .max_context = 8}).kv_caches) windows.push_back(cache.window);
  return windows;
}

struct Refusal {
  const char* name;
  const char* fixture;
  json edits;
  ErrorCode code;
  const char* message;
};

std::vector<Refusal> Refusals() {
  constexpr ErrorCode kUnsupported = ErrorCode::kUnsupported, kDataLoss = ErrorCode::kDataLoss;
  const json llama3 = {{"rope_type", "llama3"}, {"factor", 8.0}, {"low_freq_factor", 1.0}, {"high_freq_factor", 4.0}};
  return {
      {"UnknownArchitecture", "llama-tiny", {{"architectures", {"NoSuchModel"}}}, kUnsupported, "unknown architecture \"NoSuchModel\"; known: "},
      {"NoArchitecture", "llama-tiny", {{"architectures", "absent"}}, kDataLoss, "architectures"},
      {"MissingSize", "llama-tiny", {{"hidden_size", "absent"}}, kDataLoss, "hidden_size"},
      {"HugeSize", "llama-tiny", {{"vocab_size", 1e15}}, kDataLoss, "vocab_size"},
      {"HugeLayerCount", "llama-tiny", {{"num_hidden_layers", 1000000000000}}, kDataLoss, "num_hidden_layers is 1000000000000, expected 1 to 4096"},
      {"HugeHeadDim", "llama-tiny", {{"head_dim", 1 << 20}}, kDataLoss, "head_dim is 1048576, expected 1 to 4096"},
      {"OddHeadDim", "llama-tiny", {{"head_dim", 15}}, kDataLoss, "head_dim is 15, but the rotary embedding needs an even number"},
      {"HeadsNotShared", "llama-tiny", {{"num_key_value_heads", 3}}, kDataLoss, "num_attention_heads 8 is not a multiple of num_key_value_heads 3"},
      {"HiddenNotShared",
       "llama-tiny",
       {{"head_dim", nullptr}, {"num_attention_heads", 6}},
       kDataLoss,
       "hidden_size 64 is not a multiple of num_attention_heads 6"},
      {"UnknownActivation", "llama-tiny", {{"hidden_act", "relu"}}, kUnsupported, "hidden_act is \"relu\"; supported: silu, gelu_pytorch_tanh"},
      {"UnknownActivationOfGemma", "gemma3-text-tiny", {{"hidden_activation", "relu"}}, kUnsupported, "hidden_activation is \"relu\""},
      {"UnknownRopeType",
       "llama-tiny",
       {{"rope_scaling", {{"rope_type", "spiral"}, {"factor", 2.0}}}},
       kUnsupported,
       "supported: default, linear, dynamic, llama3, yarn, longrope"},
      {"ShrinkingDynamicRope",
       "llama-tiny",
       {{"rope_scaling", {{"rope_type", "dynamic"}, {"factor", 0.5}}}},
       kDataLoss,
       "dynamic rotary scaling by 0.5"},
      {"Quantized",
       "llama-tiny",
       {{"quantization_config", {{"quant_method", "fp8"}}}},
       kUnsupported,
       "quant_method is \"fp8\"; supported here: plain weights"},
      {"OtherThanMxfp4",
       "gpt-oss-tiny",
       {{"quantization_config", {{"quant_method", "awq"}}}},
       kUnsupported,
       "quant_method is \"awq\"; supported here: mxfp4"},
      {"Mxfp4OfOddSize", "gpt-oss-tiny", {{"quantization_config", {{"quant_method", "mxfp4"}}}}, kDataLoss, "not multiples of 32, as MXFP4 needs"},
      {"GeluExperts", "mixtral-tiny", {{"hidden_act", "gelu_pytorch_tanh"}}, kUnsupported, "experts support silu"},
      {"Llama4SlidingLayer",
       "llama4-text-tiny",
       {{"layer_types", {"chunked_attention", "sliding_attention", "full_attention", "full_attention"}}},
       kUnsupported,
       "layer_types has \"sliding_attention\"; supported: full_attention, chunked_attention"},
      {"Llama4WithoutChunk", "llama4-text-tiny", {{"attention_chunk_size", nullptr}}, kDataLoss, "attention_chunk_size is null"},
      {"DeepseekGroups", "deepseek-v3-tiny", {{"n_group", 3}}, kDataLoss, "n_group 3 does not cut 8 experts"},
      {"DeepseekTopK", "deepseek-v3-tiny", {{"topk_group", 1}}, kDataLoss, "num_experts_per_tok 3 cannot come from topk_group 1 of 4"},
      {"DeepseekOddRope", "deepseek-v3-tiny", {{"qk_rope_head_dim", 15}}, kDataLoss, "15"},
      {"Llama3WithoutContext", "llama-tiny", {{"rope_scaling", llama3}}, kDataLoss, "original_max_position_embeddings"},
      {"PartialRotary", "llama-tiny", {{"partial_rotary_factor", 0.5}}, kUnsupported, "partial_rotary_factor is 0.5"},
      {"ZeroEps", "llama-tiny", {{"rms_norm_eps", 0.0}}, kDataLoss, "rms_norm_eps is 0"},
      {"EpsBelowF32", "llama-tiny", {{"rms_norm_eps", 1e-60}}, kDataLoss, "rms_norm_eps"},
      {"ThetaBeyondF32", "llama-tiny", {{"rope_theta", 1e300}}, kDataLoss, "rope_theta"},
      {"UnknownLayerType",
       "qwen3-tiny",
       {{"layer_types", {"full_attention", "chunked_attention", "full_attention"}}},
       kUnsupported,
       "layer_types has \"chunked_attention\"; supported: full_attention, sliding_attention"},
      {"TooFewLayerTypes", "qwen3-tiny", {{"layer_types", {"full_attention"}}}, kDataLoss, "layer_types has 1 entries for 3 layers"},
      {"SlidingThoughSwitchedOff",
       "qwen3-tiny",
       {{"layer_types", {"full_attention", "sliding_attention", "full_attention"}}},
       kDataLoss,
       "use_sliding_window is not true"},
      {"SlidingWithoutWindow", "gemma3-text-tiny", {{"sliding_window", nullptr}}, kDataLoss, "sliding_window"},
      {"AttentionSoftcap", "gemma3-text-tiny", {{"attn_logit_softcapping", 50.0}}, kUnsupported, "attn_logit_softcapping is set"},
      {"FinalSoftcap", "gemma3-text-tiny", {{"final_logit_softcapping", 30.0}}, kUnsupported, "final_logit_softcapping is set"},
      {"OddPartOfAHead", "phi3-tiny", {{"partial_rotary_factor", 0.6}}, kDataLoss, "which rotates 9 of 16 columns"},
      {"MoreThanAHead", "phi3-tiny", {{"partial_rotary_factor", 1e300}}, kDataLoss, "partial_rotary_factor is 1e+300"},
      {"LongRopeOfAnotherWidth",
       "phi3-longrope-tiny",
       {{"partial_rotary_factor", 0.5}},
       kDataLoss,
       "short_factor has 6 entries for 8 rotated columns; expected 4"},
      {"LongRopeWithoutFactors", "phi3-tiny", {{"rope_scaling", {{"type", "longrope"}}}}, kDataLoss, "short_factor"},
      {"ZeroMultiplier", "granite-tiny", {{"logits_scaling", 0.0}}, kDataLoss, "logits_scaling is 0"},
      {"BidirectionalGemma2", "gemma2-tiny", {{"use_bidirectional_attention", true}}, kUnsupported, "use_bidirectional_attention is true"},
      {"NegativeSoftcap", "gemma2-tiny", {{"attn_logit_softcapping", -5.0}}, kDataLoss, "attn_logit_softcapping is -5"},
      {"TooFewNoRopeLayers", "smollm3-tiny", {{"no_rope_layers", {1, 0}}}, kDataLoss, "no_rope_layers has 2 entries for 4 layers"},
      {"SlidingSmolLm3WithoutWindow",
       "smollm3-tiny",
       {{"layer_types", {"full_attention", "sliding_attention", "full_attention", "full_attention"}}},
       kDataLoss,
       "use_sliding_window is not true or sliding_window is missing"},
      {"Bidirectional",
       "gemma3-text-tiny",
       {{"use_bidirectional_attention", true}},
       kUnsupported,
       "has no next token, since its attention is bidirectional"},
      {"Headless", "gemma3-text-tiny", {{"architectures", {"Gemma3TextModel"}}}, kUnsupported, "has no next token without a head"},
      {"RelativePositionsOfBert",
       "bert-embedding-tiny",
       {{"position_embedding_type", "relative_key"}},
       kUnsupported,
       "position_embedding_type is \"relative_key\"; supported: absolute"},
      {"BertAsADecoder", "bert-embedding-tiny", {{"is_decoder", true}}, kUnsupported, "is_decoder is true"},
      {"BertWithHeadsOfUnequalSize",
       "bert-embedding-tiny",
       {{"num_attention_heads", 5}},
       kDataLoss,
       "hidden_size 64 is not a multiple of num_attention_heads 5"},
      {"UnknownActivationOfBert", "bert-embedding-tiny", {{"hidden_act", "gelu_fast"}}, kUnsupported, "hidden_act is \"gelu_fast\""},
  };
}

class Refused : public testing::TestWithParam<Refusal> {};

}  // namespace

TEST_P(Refused, WithTheFieldAndWhatIsSupported) {
  try {
    (void)Parse(Edited(GetParam().fixture, GetParam().edits));
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), GetParam().code) << error.what();
    EXPECT_TRUE(std::string_view(error.what()).starts_with("config.json")) << error.what();
    EXPECT_NE(std::string(error.what()).find(GetParam().message), std::string::npos) << error.what();
  }
}

INSTANTIATE_TEST_SUITE_P(Configs, Refused, testing::ValuesIn(Refusals()), [](const auto& info) { return std::string(info.param.name); });

TEST(Config, ModelKnowsItsNameAndSizes) {
  const auto model = Parse(Load("gemma3-text-tiny"));
  EXPECT_EQ(model->architecture(), "Gemma3ForCausalLM");
  EXPECT_EQ(model->model_type(), "gemma3_text");
  EXPECT_EQ(model->vocab_size(), 1024);
  EXPECT_EQ(model->hidden_size(), 32);
  EXPECT_EQ(model->num_layers(), 2);
  EXPECT_EQ(model->max_position(), 512);
}

TEST(Config, QwenLayersSlideFromMaxWindowLayersOn) {
  EXPECT_EQ(Windows(Load("qwen2-tiny")), (std::vector<int64_t>{0, 16, 16}));
  EXPECT_EQ(Windows(Edited("qwen2-tiny", {{"max_window_layers", 0}})), (std::vector<int64_t>{16, 16, 16}));
  EXPECT_EQ(Windows(Edited("qwen2-tiny", {{"max_window_layers", "absent"}})), (std::vector<int64_t>{0, 0, 0}));
  EXPECT_EQ(Windows(Edited("qwen2-tiny", {{"use_sliding_window", false}})), (std::vector<int64_t>{0, 0, 0}));
  EXPECT_EQ(Windows(Edited("qwen2-tiny", {{"sliding_window", nullptr}})), (std::vector<int64_t>{0, 0, 0}));
}

TEST(Config, QwenLayerTypesComeFirst) {
  const json types = {"sliding_attention", "full_attention", "sliding_attention"};
  EXPECT_EQ(Windows(Edited("qwen2-tiny", {{"layer_types", types}})), (std::vector<int64_t>{16, 0, 16}));
}

TEST(Config, MistralSlidesInEveryLayerOrNone) {
  EXPECT_EQ(Windows(Load("mistral-tiny")), (std::vector<int64_t>{16, 16}));
  EXPECT_EQ(Windows(Edited("mistral-tiny", {{"sliding_window", nullptr}})), (std::vector<int64_t>{0, 0}));
}

TEST(Config, GemmaPatternMakesEveryNthLayerGlobal) {
  const json edits = {{"layer_types", "absent"}, {"num_hidden_layers", 7}};
  EXPECT_EQ(Windows(Edited("gemma3-text-tiny", edits)), (std::vector<int64_t>{16, 16, 16, 16, 16, 0, 16}));
  json other = edits;
  other["sliding_window_pattern"] = 2;
  EXPECT_EQ(Windows(Edited("gemma3-text-tiny", other)), (std::vector<int64_t>{16, 0, 16, 0, 16, 0, 16}));
}

TEST(Config, GemmaScalesTheGlobalRotaryBaseOnly) {
  const std::vector<std::string> plain{"rope.dim256.theta10000", "rope.dim256.theta1e+06"}, scaled{plain[0], plain[1] + ".linear8"};
  const auto tables = [](const json& edits) {
    std::vector<std::string> names;
    const graph::Graph graph = Parse(Edited("gemma3-text-tiny", edits))->Build({.rows = 1, .outputs = 1, .max_context = 8});
    for (const graph::Weight& weight : graph.weights) {
      if (weight.constant != nullptr) names.push_back(weight.name);   // in the order of layers: local, global
    }
    return names;
  };
  EXPECT_EQ(tables({}), plain);
  EXPECT_EQ(tables({{"rope_theta", "absent"}, {"rope_local_base_freq", "absent"}}), plain);   // the class's defaults
  const json linear = {{"rope_type", "linear"}, {"factor", 8.0}};
  EXPECT_EQ(tables({{"rope_scaling", linear}}), scaled);
  const json full = {{"rope_type", "linear"}, {"factor", 8.0}, {"rope_theta", 1000000.0}},
             local = {{"rope_type", "default"}, {"rope_theta", 10000.0}};
  const json keyed = {{"full_attention", full}, {"sliding_attention", local}};
  EXPECT_EQ(tables({{"rope_parameters", keyed}, {"rope_theta", "absent"}, {"rope_local_base_freq", "absent"}}), scaled);
}

TEST(Config, Gemma2CapsUnlessSwitchedOff) {
  const auto caps = [](const json& edits) {
    const graph::Graph graph = Parse(Edited("gemma2-tiny", edits))->Build({.rows = 1, .outputs = 1, .max_context = 8});
    std::pair<float, float> found{0, 0};
    for (const graph::Node& node : graph.nodes) {
      if (node.op == graph::Op::kAttention) found.first = std::get<graph::AttentionAttrs>(node.attrs).softcap;
      if (node.op == graph::Op::kSoftcap) found.second = std::get<graph::ScalarAttrs>(node.attrs).value;
    }
    return found;
  };
  EXPECT_EQ(caps({}), std::pair(5.0f, 30.0f));
  EXPECT_EQ(caps({{"attn_logit_softcapping", "absent"}}), std::pair(50.0f, 30.0f));   // the class's default
  EXPECT_EQ(caps({{"attn_logit_softcapping", nullptr}, {"final_logit_softcapping", nullptr}}), std::pair(0.0f, 0.0f));
}

TEST(Config, EveryOtherGemma2LayerSlidesFromTheFirstOn) {
  EXPECT_EQ(Windows(Load("gemma2-tiny")), (std::vector<int64_t>{16, 0, 16}));
  EXPECT_EQ(Windows(Edited("gemma2-tiny", {{"sliding_window", "absent"}})), (std::vector<int64_t>{4096, 0, 4096}));
  EXPECT_EQ(Windows(Edited("gemma2-tiny", {{"sliding_window", nullptr}})), (std::vector<int64_t>{0, 0, 0}));
}

TEST(Config, SmolLm3LayersThatDoNotRotateMaySlide) {
  json edits = {{"layer_types", "absent"}, {"use_sliding_window", true}, {"sliding_window", 7}};
  EXPECT_EQ(Windows(Edited("smollm3-tiny", edits)), (std::vector<int64_t>{0, 7, 0, 0}));   // as no_rope_layers lists them
  edits["no_rope_layers"] = "absent";
  EXPECT_EQ(Windows(Edited("smollm3-tiny", edits)), (std::vector<int64_t>{0, 0, 0, 7}));   // every fourth
}

TEST(Config, PhiSpelledLongRopeInOtherWays) {
  json config = Load("phi3-longrope-tiny");
  const auto table = [&](const char* type) {
    config["rope_scaling"]["type"] = type;
    const graph::Graph graph = Parse(config)->Build({.rows = 1, .outputs = 1, .max_context = 100});
    return std::ranges::find_if(graph.weights, [](const graph::Weight& weight) { return weight.constant != nullptr; })->name;
  };
  EXPECT_EQ(table("su"), table("longrope"));
  EXPECT_EQ(table("yarn"), table("longrope"));
}

TEST(Config, HeadDimDefaultsToTheFamilys) {
  const auto head_dim = [](const json& config) { return Parse(config)->Build({.rows = 1, .outputs = 1, .max_context = 8}).kv_caches[0].head_dim; };
  EXPECT_EQ(head_dim(Edited("llama-tiny", {{"head_dim", nullptr}})), 8);   // 64 / 8
  EXPECT_EQ(head_dim(Edited("qwen3-tiny", {{"head_dim", "absent"}})), 128);
  EXPECT_EQ(head_dim(Edited("gemma3-text-tiny", {{"head_dim", "absent"}})), 256);
}

TEST(Config, NormEpsDefaultsToTheClasss) {
  const graph::Graph graph = Parse(Edited("llama-tiny", {{"rms_norm_eps", "absent"}}))->Build({.rows = 1, .outputs = 1, .max_context = 8});
  for (const graph::Node& node : graph.nodes) {
    if (node.op != graph::Op::kRmsNorm) continue;
    EXPECT_EQ(std::get<graph::NormAttrs>(node.attrs).eps, 1e-6f) << node.scope;
  }
}

}  // namespace intaglio::models
