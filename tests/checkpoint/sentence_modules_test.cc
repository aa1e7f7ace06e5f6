#include "checkpoint/sentence_modules.h"

#include <gtest/gtest.h>

#include <array>

#include "base/safetensors_writer.h"
#include "tests/base/temporary_folder.h"

namespace intaglio::checkpoint {
namespace {

const std::filesystem::path kFixtures = INTAGLIO_SOURCE_DIR "/tests/fixtures";

std::string RefusalOf(std::string_view modules_json) {
  const TemporaryFolder folder;
  folder.Write("modules.json", modules_json);
  return MessageOf(ErrorCode::kDataLoss, [&] { (void)ReadSentenceModules(folder.path()); });
}

TEST(SentenceModules, AreThoseOfTheListWithTheirConfigs) {
  const auto modules = ReadSentenceModules(kFixtures / "gemma3-embedding-tiny");
  ASSERT_EQ(modules.size(), 5u);
  EXPECT_EQ(modules[0].type, "sentence_transformers.models.Transformer");
  EXPECT_EQ(modules[0].path, "");
  EXPECT_EQ(modules[0].config_json, "{}");
  EXPECT_EQ(modules[2].path, "2_Dense");
  EXPECT_EQ(modules[2].config_json, ReadFile(kFixtures / "gemma3-embedding-tiny/2_Dense/config.json"));
  EXPECT_EQ(modules[4].config_json, "{}");   // Normalize has no folder
}

TEST(SentenceModules, AreNoneWithoutAList) { EXPECT_TRUE(ReadSentenceModules(kFixtures / "llama-tiny").empty()); }

TEST(SentenceModules, AHostileListIsAnErrorThatNamesIt) {
  EXPECT_NE(RefusalOf("[").find("modules.json: not valid JSON"), std::string::npos);
  EXPECT_NE(RefusalOf("{}").find("expected a list"), std::string::npos);
  EXPECT_NE(RefusalOf("[]").find("expected a list of 1 to 64 modules"), std::string::npos);
  EXPECT_NE(RefusalOf(R"([7])").find("has no string \"type\""), std::string::npos);
  EXPECT_NE(RefusalOf(R"([{"type": "x"}])").find("has no string \"path\""), std::string::npos);
  for (const char* path : {"..", ".", "../llama", "/etc", "a/b", "a\\u0000b"}) {
    EXPECT_NE(RefusalOf(R"([{"type": "x", "path": ")" + std::string(path) + R"("}])").find("is not the name of a folder beside it"),
              std::string::npos)
        << path;
  }
  std::string many = R"([{"type": "x", "path": ""})";
  for (int i = 0; i < 64; ++i) many += R"(, {"type": "x", "path": ""})";
  EXPECT_NE(RefusalOf(many + "]").find("expected a list of 1 to 64 modules"), std::string::npos);
}

TEST(SentenceModules, TheirTensorsAreTheCheckpointsUnderTheFoldersName) {
  const auto checkpoint = Checkpoint::Open(kFixtures / "gemma3-embedding-tiny");
  EXPECT_EQ(checkpoint->shape("2_Dense.linear.weight"), (Shape{128, 64}));
  EXPECT_EQ(checkpoint->shape("3_Dense.linear.weight"), (Shape{64, 128}));
  EXPECT_EQ(checkpoint->shape("norm.weight"), (Shape{64}));
  EXPECT_EQ(checkpoint->sentence_modules().size(), 5u);
}

TEST(SentenceModules, ChangeTheDigest) {
  const TemporaryFolder folder;
  folder.Write("config.json", "{}");
  const std::array<float, 2> values{1, 2};
  const NamedTensor tensor{"t", {.dtype = DType::kF32, .shape = {2}, .bytes = std::as_bytes(std::span(values))}};
  WriteSafetensors(folder.path() / "model.safetensors", std::array{tensor});
  const std::string plain = Checkpoint::Open(folder.path())->digest();
  folder.Write("modules.json", R"([{"type": "a", "path": ""}])");
  EXPECT_NE(Checkpoint::Open(folder.path())->digest(), plain);
}

}  // namespace
}  // namespace intaglio::checkpoint
