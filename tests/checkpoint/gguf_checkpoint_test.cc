// Small models as llama.cpp's converter would store them, made by make_gguf_fixtures.py together with the Hugging Face tensors.
#include "checkpoint/gguf_checkpoint.h"

#include <gtest/gtest.h>

#include <cstring>

#include "checkpoint/gguf_names.h"
#include "checkpoint/hf_config.h"
#include "checkpoint/rows.h"
#include "checkpoint/safetensors.h"
#include "tests/base/temporary_folder.h"
#include "tests/checkpoint/gguf_bytes.h"

namespace intaglio::checkpoint {
namespace {

const std::filesystem::path kData = INTAGLIO_SOURCE_DIR "/tests/data/gguf";

std::unique_ptr<Checkpoint> OpenModel(const std::string& name) { return Checkpoint::Open(kData / (name + ".gguf")); }
HfConfig ConfigOf(const std::string& name) { return HfConfig::Parse(OpenModel(name)->config_json(), name); }

std::vector<float> ReadAll(const Checkpoint& checkpoint, const std::string& name) {
  const MatrixSize size = AsMatrix(checkpoint.shape(name));
  std::vector<float> values(static_cast<size_t>(size.rows * size.columns));
  checkpoint.ReadRows(name, 0, size.rows, values);
  return values;
}

class EveryArchitecture : public testing::TestWithParam<const char*> {};

TEST_P(EveryArchitecture, GivesTheHuggingFaceTensors) {
  const auto checkpoint = OpenModel(GetParam());
  const SafetensorsFile expected = SafetensorsFile::Open(kData / (std::string(GetParam()) + ".safetensors"));
  EXPECT_EQ(checkpoint->tensor_names(), expected.names());
  for (const std::string& name : expected.names()) {
    const TensorView& golden = expected.tensor(name);
    EXPECT_EQ(checkpoint->shape(name), golden.shape) << name;
    EXPECT_EQ(std::memcmp(ReadAll(*checkpoint, name).data(), golden.bytes.data(), golden.bytes.size()), 0) << name;
  }
}

TEST_P(EveryArchitecture, GivesTheSameRowsOneByOne) {
  const auto checkpoint = OpenModel(GetParam());
  for (const std::string& name : checkpoint->tensor_names()) {
    const MatrixSize size = AsMatrix(checkpoint->shape(name));
    const std::vector<float> whole = ReadAll(*checkpoint, name);
    std::vector<float> row(static_cast<size_t>(size.columns));
    for (int64_t i = 0; i < size.rows; ++i) {
      checkpoint->ReadRows(name, i, 1, row);
      EXPECT_EQ(std::memcmp(row.data(), whole.data() + i * size.columns, row.size() * 4), 0) << name << " row " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(GgufCheckpoint, EveryArchitecture, testing::Values("llama", "mistral", "qwen2", "qwen3", "gemma3"),
                         [](const auto& info) { return std::string(info.param); });

TEST(GgufConfig, HasTheSizes) {
  const HfConfig config = ConfigOf("mistral");
  EXPECT_EQ(config.Int("vocab_size"), 8);
  EXPECT_EQ(config.Int("hidden_size"), 8);
  EXPECT_EQ(config.Int("intermediate_size"), 12);
  EXPECT_EQ(config.Int("num_hidden_layers"), 2);
  EXPECT_EQ(config.Int("num_attention_heads"), 4);
  EXPECT_EQ(config.Int("num_key_value_heads"), 2);
  EXPECT_EQ(config.Int("head_dim"), 6);
  EXPECT_EQ(config.Int("max_position_embeddings"), 64);
  EXPECT_EQ(config.Float("rms_norm_eps"), 1e-6);
  EXPECT_EQ(config.dtype(), "f32");
}

TEST(GgufConfig, OfLlamaDerivesLlama3ScalingAndBiases) {
  const HfConfig config = ConfigOf("llama");
  EXPECT_EQ(config.architecture(), "LlamaForCausalLM");
  EXPECT_TRUE(config.Bool("attention_bias"));
  EXPECT_TRUE(config.Bool("mlp_bias"));
  EXPECT_FALSE(config.Bool("tie_word_embeddings"));
  const RopeConfig rope = config.Rope({"default", "llama3"});
  EXPECT_EQ(rope.type, "llama3");
  EXPECT_EQ(rope.theta, 500000.0);
  EXPECT_EQ(rope.factor, 8.0);
  EXPECT_EQ(rope.original_max_position_embeddings, 8192);
}

TEST(GgufConfig, OfLlamaWithAWindowIsMistral) {
  const HfConfig config = ConfigOf("mistral");
  EXPECT_EQ(config.architecture(), "MistralForCausalLM");
  EXPECT_EQ(config.Int("sliding_window"), 16);
  EXPECT_FALSE(config.Bool("attention_bias"));
}

TEST(GgufConfig, OfQwenTiesTheHeadAndReadsLinearScaling) {
  const HfConfig config = ConfigOf("qwen2");
  EXPECT_EQ(config.architecture(), "Qwen2ForCausalLM");
  EXPECT_TRUE(config.Bool("tie_word_embeddings"));
  EXPECT_FALSE(config.has("sliding_window"));
  EXPECT_EQ(config.Rope({"linear"}).factor, 2.5);
  EXPECT_EQ(ConfigOf("qwen3").architecture(), "Qwen3ForCausalLM");
}

TEST(GgufConfig, OfGemma3HasWindowsAndTwoBases) {
  const HfConfig config = ConfigOf("gemma3");
  EXPECT_EQ(config.architecture(), "Gemma3ForCausalLM");
  EXPECT_EQ(config.String("model_type"), "gemma3_text");
  EXPECT_EQ(config.Int("query_pre_attn_scalar"), 6);
  EXPECT_EQ(config.Int("sliding_window"), 16);
  EXPECT_EQ(config.Strings("layer_types"), (std::vector<std::string>{"sliding_attention", "sliding_attention"}));
  EXPECT_EQ(config.Rope({"default"}, "sliding_attention", "rope_local_base_freq").theta, 10000.0);
}

// The least that a Gemma 3 needs, and whatever else a test adds.
std::string Gemma3(uint32_t layers, std::vector<std::string> more) {
  std::vector<std::string> metadata{String("general.architecture", "gemma3"),
                                    U32("gemma3.context_length", 64),
                                    U32("gemma3.embedding_length", 8),
                                    U32("gemma3.block_count", layers),
                                    U32("gemma3.feed_forward_length", 8),
                                    U32("gemma3.attention.head_count", 2),
                                    F32("gemma3.attention.layer_norm_rms_epsilon", 1e-6f),
                                    U32("gemma3.attention.key_length", 16),
                                    U32("gemma3.attention.value_length", 16),
                                    U32("gemma3.attention.sliding_window", 4)};
  metadata.insert(metadata.end(), more.begin(), more.end());
  return GgufBytes(metadata, {Describe("token_embd.weight", {8, 3}, 0, 0)}, 96);
}

HfConfig ConfigOfBytes(const std::string& bytes) { return HfConfig::Parse(OpenGguf(ParseGguf(bytes))->config_json(), "file"); }

TEST(GgufConfig, OfGemma3MakesEverySixthLayerGlobal) {
  const std::string bytes = Gemma3(7, {});
  const std::vector<std::string> types = ConfigOfBytes(bytes).Strings("layer_types");
  for (size_t i = 0; i < types.size(); ++i) EXPECT_EQ(types[i], i == 5 ? "full_attention" : "sliding_attention") << i;
}

TEST(GgufConfig, OfGemma3TakesAStatedPattern) {
  const std::string list = Gemma3(2, {Array<uint8_t>("gemma3.attention.sliding_window_pattern", 7, {0, 1})});
  EXPECT_EQ(ConfigOfBytes(list).Strings("layer_types"), (std::vector<std::string>{"full_attention", "sliding_attention"}));
  const std::string period = Gemma3(2, {U32("gemma3.attention.sliding_window_pattern", 2)});
  EXPECT_EQ(ConfigOfBytes(period).Strings("layer_types"), (std::vector<std::string>{"sliding_attention", "full_attention"}));
  const std::string short_list = Gemma3(3, {Array<uint8_t>("gemma3.attention.sliding_window_pattern", 7, {0, 1})});
  MessageOf(ErrorCode::kDataLoss, [&] { (void)ConfigOfBytes(short_list); });
}

TEST(GgufConfig, OfGemma3WithTheLayersOf27BScalesQueriesByHiddenSize) {
  const std::string bytes = Gemma3(62, {});
  EXPECT_EQ(ConfigOfBytes(bytes).Int("query_pre_attn_scalar"), 4);
}

TEST(GgufConfig, NamesMissingAndImpossibleMetadata) {
  const std::string no_sizes = GgufBytes({String("general.architecture", "llama")}, {Describe("token_embd.weight", {8, 3}, 0, 0)}, 96);
  EXPECT_NE(MessageOf(ErrorCode::kDataLoss, [&] { (void)OpenGguf(ParseGguf(no_sizes)); }).find("metadata llama.embedding_length is missing"),
            std::string::npos);
  const std::string no_embedding = GgufBytes({String("general.architecture", "llama")});
  EXPECT_NE(MessageOf(ErrorCode::kDataLoss, [&] { (void)OpenGguf(ParseGguf(no_embedding)); }).find("no matrix token_embd.weight"), std::string::npos);
  const std::string no_layers = Gemma3(0, {});
  EXPECT_NE(MessageOf(ErrorCode::kDataLoss, [&] { (void)OpenGguf(ParseGguf(no_layers)); }).find("gemma3.block_count is 0"), std::string::npos);
  const std::string part_rotary = Gemma3(1, {U32("gemma3.rope.dimension_count", 8)});
  EXPECT_NE(MessageOf(ErrorCode::kUnsupported, [&] { (void)OpenGguf(ParseGguf(part_rotary)); }).find("8 rotary dimensions"), std::string::npos);
}

TEST(GgufConfig, ListsTheKnownArchitectures) {
  const std::string bytes = GgufBytes({String("general.architecture", "mamba")});
  const std::string message = MessageOf(ErrorCode::kUnsupported, [&] { (void)OpenGguf(ParseGguf(bytes)); });
  EXPECT_NE(message.find("'mamba' is not supported; supported: gemma3, llama, qwen2, qwen3"), std::string::npos) << message;
}

TEST(GgufNames, RefuseTensorsThatHaveNoPlace) {
  for (const char* name :
       {"blk.0.ffn_gate_exps.weight", "blk.00.attn_q.weight", "blk..attn_q.weight", "blk.0.attn_q", "blk.0.attn_q.scale", "weight", "", "."}) {
    MessageOf(ErrorCode::kUnsupported, [&] { (void)RenameGgufTensor("llama", name, "file"); });
  }
  EXPECT_EQ(RenameGgufTensor("llama", "blk.10.attn_k.bias", "file").name, "model.layers.10.self_attn.k_proj.bias");
  EXPECT_EQ(RenameGgufTensor("llama", "rope_freqs.weight", "file").name, "");
}

TEST(GgufCheckpoint, NamesTheNearestTensors) {
  const std::string message = MessageOf(ErrorCode::kNotFound, [] { (void)OpenModel("llama")->shape("model.norm.weights"); });
  EXPECT_NE(message.find("'model.norm.weight'"), std::string::npos) << message;
}

// A llama whose queries, 2 heads of 4 rows, are 64 columns of Q8_0: blocks of a scale of 1 and 32 bytes that all differ from their neighbours'.
std::string LlamaWithQuantisedQueries() {
  std::string bytes = GgufBytes(
      {String("general.architecture", "llama"), U32("llama.context_length", 64), U32("llama.embedding_length", 64), U32("llama.block_count", 1),
       U32("llama.feed_forward_length", 8), U32("llama.attention.head_count", 2), F32("llama.attention.layer_norm_rms_epsilon", 1e-6f)},
      {Describe("token_embd.weight", {64, 1}, 0, 0), Describe("blk.0.attn_q.weight", {64, 8}, 8, 256)}, 256);
  for (int block = 0; block < 16; ++block) {
    bytes += Raw<uint16_t>(0x3c00);
    for (int i = 0; i < 32; ++i) bytes += Raw(static_cast<int8_t>(block * 37 + i * 11));
  }
  return bytes;
}

TEST(GgufCheckpoint, QuantisedRowsAreInHuggingFacesOrderToo) {
  const std::string bytes = LlamaWithQuantisedQueries(), name = "model.layers.0.self_attn.q_proj.weight";
  const auto checkpoint = OpenGguf(ParseGguf(bytes));
  ASSERT_EQ(checkpoint->quantized_type(name), DType::kQ8_0);
  QuantizedRows rows;
  checkpoint->AppendQuantized(name, {.row = 0, .count = 3, .first_k = 0, .num_k = 64}, rows);
  checkpoint->AppendQuantized(name, {.row = 3, .count = 5, .first_k = 0, .num_k = 64}, rows);
  const std::vector<float> expected = ReadAll(*checkpoint, name);
  ASSERT_EQ(rows.q.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) ASSERT_EQ(rows.d[i / 32] * static_cast<float>(rows.q[i] - 128), expected[i]) << i;
}

TEST(GgufCheckpoint, PartsOfQuantisedRowsAreTheBlocksOfTheirColumns) {
  const std::string bytes = LlamaWithQuantisedQueries(), name = "model.layers.0.self_attn.q_proj.weight";
  const auto checkpoint = OpenGguf(ParseGguf(bytes));
  QuantizedRows whole, part;
  checkpoint->AppendQuantized(name, {.row = 1, .count = 2, .first_k = 0, .num_k = 64}, whole);
  checkpoint->AppendQuantized(name, {.row = 1, .count = 2, .first_k = 32, .num_k = 32}, part);
  ASSERT_EQ(part.q.size(), 64u);
  for (size_t i = 0; i < 64; ++i) ASSERT_EQ(part.q[i], whole.q[i / 32 * 64 + 32 + i % 32]) << i;
}

TEST(GgufCheckpoint, RefusesQueriesThatHeadsDoNotDivide) {
  const std::string bytes = GgufBytes(
      {String("general.architecture", "llama"), U32("llama.context_length", 64), U32("llama.embedding_length", 8), U32("llama.block_count", 1),
       U32("llama.feed_forward_length", 8), U32("llama.attention.head_count", 2), F32("llama.attention.layer_norm_rms_epsilon", 1e-6f)},
      {Describe("token_embd.weight", {8, 2}, 0, 0), Describe("blk.0.attn_q.weight", {8, 6}, 0, 64)}, 256);
  const std::string message = MessageOf(ErrorCode::kDataLoss, [&] { (void)OpenGguf(ParseGguf(bytes)); });
  EXPECT_NE(message.find("2 heads of even size do not divide"), std::string::npos) << message;
}

}  // namespace
}  // namespace intaglio::checkpoint
