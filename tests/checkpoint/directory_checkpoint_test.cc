#include "checkpoint/directory_checkpoint.h"

#include <gtest/gtest.h>

#include <array>

#include "base/safetensors_writer.h"
#include "tests/base/temporary_folder.h"

namespace intaglio::checkpoint {
namespace {

const std::filesystem::path kFixtures = INTAGLIO_SOURCE_DIR "/tests/fixtures";
constexpr std::array<float, 6> kValues{1, 2, 3, 4, 5, 6};

NamedTensor Matrix(std::string name) {
  return {std::move(name), {.dtype = DType::kF32, .shape = {3, 2}, .bytes = std::as_bytes(std::span(kValues))}};
}

// A folder with config.json, one shard for each name and this index.
struct Sharded {
  TemporaryFolder folder;

  Sharded(std::initializer_list<std::pair<const char*, const char*>> tensor_in_shard, const std::string& index) {
    folder.Write("config.json", "{}");
    folder.Write("model.safetensors.index.json", index);
    for (const auto& [tensor, shard] : tensor_in_shard) WriteSafetensors(folder.path() / shard, std::array{Matrix(tensor)});
  }
  [[nodiscard]] std::unique_ptr<Checkpoint> Open() const { return Checkpoint::Open(folder.path()); }
};

TEST(DirectoryCheckpoint, ReadsAFixture) {
  const auto checkpoint = Checkpoint::Open(kFixtures / "llama-tiny");
  EXPECT_EQ(checkpoint->shape("model.embed_tokens.weight"), (Shape{1024, 64}));
  EXPECT_EQ(checkpoint->stored_type("model.embed_tokens.weight"), "F32");
  EXPECT_FALSE(checkpoint->is_bf16("model.embed_tokens.weight"));
  EXPECT_FALSE(checkpoint->has("lm_head.weight"));
  EXPECT_EQ(checkpoint->config_json(), ReadFile(kFixtures / "llama-tiny" / "config.json"));
  EXPECT_EQ(checkpoint->companion_files().at("tokenizer.json"), ReadFile(kFixtures / "llama-tiny" / "tokenizer.json"));
  EXPECT_FALSE(checkpoint->companion_files().contains("chat_template.jinja"));
}

TEST(DirectoryCheckpoint, ReadsSomeRows) {
  const TemporaryFolder folder;
  folder.Write("config.json", "{}");
  WriteSafetensors(folder.path() / "model.safetensors", std::array{Matrix("m")});
  std::array<float, 4> rows{};
  Checkpoint::Open(folder.path())->ReadRows("m", 1, 2, rows);
  EXPECT_EQ(rows, (std::array<float, 4>{3, 4, 5, 6}));
}

TEST(DirectoryCheckpoint, ReadsBf16BothWays) {
  const auto checkpoint = Checkpoint::Open(kFixtures / "llama-bf16-tiny");
  ASSERT_TRUE(checkpoint->is_bf16("model.norm.weight"));
  const auto size = static_cast<size_t>(checkpoint->shape("model.norm.weight").num_elements());
  std::vector<uint16_t> bits(size);
  std::vector<float> values(size);
  checkpoint->ReadRowsBf16("model.norm.weight", 0, 1, bits);
  checkpoint->ReadRows("model.norm.weight", 0, 1, values);
  for (size_t i = 0; i < size; ++i) EXPECT_EQ(values[i], Bf16ToF32(bits[i]));
}

TEST(DirectoryCheckpoint, WidensF16) {
  const TemporaryFolder folder;
  folder.Write("config.json", "{}");
  const std::array<uint16_t, 3> halves{0x3c00, 0xc000, 0x0001};
  WriteSafetensors(folder.path() / "model.safetensors", std::array{NamedTensor{"h", {DType::kF16, {3}, std::as_bytes(std::span(halves))}}});
  std::array<float, 3> values{};
  Checkpoint::Open(folder.path())->ReadRows("h", 0, 1, values);
  EXPECT_EQ(values, (std::array<float, 3>{1.0f, -2.0f, 0x1p-24f}));
}

TEST(DirectoryCheckpoint, RefusesIntegersAsWeights) {
  const TemporaryFolder folder;
  folder.Write("config.json", "{}");
  const std::array<int32_t, 1> ids{1};
  WriteSafetensors(folder.path() / "model.safetensors", std::array{NamedTensor{"ids", {DType::kI32, {1}, std::as_bytes(std::span(ids))}}});
  std::array<float, 1> out{};
  const std::string message = MessageOf(ErrorCode::kUnsupported, [&] { Checkpoint::Open(folder.path())->ReadRows("ids", 0, 1, out); });
  EXPECT_NE(message.find("stored as I32"), std::string::npos) << message;
}

TEST(DirectoryCheckpoint, JoinsShards) {
  const Sharded sharded({{"a", "1.safetensors"}, {"b", "2.safetensors"}}, R"({"weight_map":{"a":"1.safetensors","b":"2.safetensors"}})");
  const auto checkpoint = sharded.Open();
  EXPECT_EQ(checkpoint->tensor_names(), (std::vector<std::string>{"a", "b"}));
  std::array<float, 6> values{};
  checkpoint->ReadRows("b", 0, 3, values);
  EXPECT_EQ(values, kValues);
}

TEST(DirectoryCheckpoint, NamesAMissingShard) {
  const Sharded sharded({{"a", "1.safetensors"}}, R"({"weight_map":{"a":"1.safetensors","b":"2.safetensors"}})");
  const std::string message = MessageOf(ErrorCode::kNotFound, [&] { (void)sharded.Open(); });
  EXPECT_NE(message.find("'2.safetensors' is not in the folder"), std::string::npos) << message;
}

TEST(DirectoryCheckpoint, NamesATensorThatItsShardLacks) {
  const Sharded sharded({{"a", "1.safetensors"}}, R"({"weight_map":{"a":"1.safetensors","b":"1.safetensors"}})");
  const std::string message = MessageOf(ErrorCode::kDataLoss, [&] { (void)sharded.Open(); });
  EXPECT_NE(message.find("places tensor 'b' in '1.safetensors', which does not hold it"), std::string::npos) << message;
}

TEST(DirectoryCheckpoint, RefusesATensorInTwoShards) {
  const Sharded sharded({{"a", "1.safetensors"}, {"b", "2.safetensors"}}, R"({"weight_map":{"a":"1.safetensors","b":"2.safetensors"}})");
  WriteSafetensors(sharded.folder.path() / "2.safetensors", std::array{Matrix("a"), Matrix("b")});
  const std::string message = MessageOf(ErrorCode::kDataLoss, [&] { (void)sharded.Open(); });
  EXPECT_NE(message.find("holds tensor 'a', which model.safetensors.index.json places in '1.safetensors'"), std::string::npos) << message;
}

TEST(DirectoryCheckpoint, RefusesAShardOutsideTheFolder) {
  for (const char* shard : {"../1.safetensors", "/etc/passwd", "..", "", "a/../1.safetensors"}) {
    const Sharded sharded({{"a", "1.safetensors"}}, std::string(R"({"weight_map":{"a":")") + shard + "\"}}");
    const std::string message = MessageOf(ErrorCode::kDataLoss, [&] { (void)sharded.Open(); });
    EXPECT_NE(message.find("not the name of a shard file"), std::string::npos) << message;
  }
}

TEST(DirectoryCheckpoint, RefusesAnIndexWithoutAMap) {
  for (const char* index : {"{}", R"({"weight_map":[]})", R"({"weight_map":{"a":1}})"}) {
    MessageOf(ErrorCode::kDataLoss, [&] { (void)Sharded({}, index).Open(); });
  }
}

TEST(DirectoryCheckpoint, NamesWhatTheFolderLacks) {
  const TemporaryFolder folder;
  EXPECT_NE(MessageOf(ErrorCode::kNotFound, [&] { (void)Checkpoint::Open(folder.path()); }).find("no config.json"), std::string::npos);
  folder.Write("config.json", "{}");
  folder.Write("pytorch_model.bin", "");
  const std::string message = MessageOf(ErrorCode::kNotFound, [&] { (void)Checkpoint::Open(folder.path()); });
  EXPECT_NE(message.find("convert it to safetensors"), std::string::npos) << message;
}

TEST(Checkpoint, NamesAMissingPathAndAnUnknownKindOfFile) {
  const TemporaryFolder folder;
  EXPECT_NE(MessageOf(ErrorCode::kNotFound, [&] { (void)Checkpoint::Open(folder.path() / "none"); }).find("no such file"), std::string::npos);
  const auto path = folder.Write("model.bin", "x");
  EXPECT_NE(MessageOf(ErrorCode::kInvalidArgument, [&] { (void)Checkpoint::Open(path); }).find(".gguf"), std::string::npos);
}

TEST(Checkpoint, DigestChangesWithTheWeights) {
  const TemporaryFolder folder;
  folder.Write("config.json", "{}");
  WriteSafetensors(folder.path() / "model.safetensors", std::array{Matrix("m")});
  const std::string before = Checkpoint::Open(folder.path())->digest();
  EXPECT_EQ(Checkpoint::Open(folder.path())->digest(), before);
  WriteSafetensors(folder.path() / "model.safetensors", std::array{Matrix("n")});
  const std::string renamed = Checkpoint::Open(folder.path())->digest();
  EXPECT_NE(renamed, before);
  const std::array<float, 6> others{};
  WriteSafetensors(folder.path() / "model.safetensors", std::array{NamedTensor{"n", {DType::kF32, {3, 2}, std::as_bytes(std::span(others))}}});
  EXPECT_NE(Checkpoint::Open(folder.path())->digest(), renamed);
}

}  // namespace
}  // namespace intaglio::checkpoint
