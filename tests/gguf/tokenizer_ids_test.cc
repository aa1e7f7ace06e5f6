// The tokenizer that a GGUF file's metadata turns into, against what Transformers' tokenizer returned.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "tests/base/temporary_folder.h"
#include "text/tokenizer.h"

namespace intaglio {
namespace {

using nlohmann::json;

const std::filesystem::path kSource = INTAGLIO_SOURCE_DIR;

std::filesystem::path GemmaPath() {
  const char* path = std::getenv("INTAGLIO_GEMMA_GGUF");
  return path != nullptr ? std::filesystem::path(path) : kSource / "build/models/gemma-3-270m-q4_k_m.gguf";
}

void ExpectGoldenIds(const std::filesystem::path& gguf, const std::filesystem::path& golden_path) {
  const auto checkpoint = checkpoint::Checkpoint::Open(gguf);
  const text::Tokenizer tokenizer = text::Tokenizer::FromJson(checkpoint->companion_files().at("tokenizer.json"));
  const json golden = json::parse(ReadFile(golden_path));
  ASSERT_FALSE(golden["tokenizer"].empty());
  for (const json& row : golden["tokenizer"]) {
    const auto text = row["text"].get<std::string>();
    const auto ids = row["ids_no_special"].get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer.Encode(text, /*add_special_tokens=*/true), row["ids"].get<std::vector<int32_t>>()) << text;
    EXPECT_EQ(tokenizer.Encode(text, /*add_special_tokens=*/false), ids) << text;
    EXPECT_EQ(tokenizer.Decode(ids, /*skip_special_tokens=*/false), row["decode"].get<std::string>()) << text;
    EXPECT_EQ(tokenizer.Decode(ids, /*skip_special_tokens=*/true), row["decode_skip_special"].get<std::string>()) << text;
  }
}

TEST(GgufTokenizerIds, OfGemma3AreThoseOfTransformers) {
  const std::filesystem::path path = GemmaPath();
  ASSERT_TRUE(std::filesystem::exists(path)) << path << " is not there; get it with: tools/fetch_gemma.sh " << path.string()
                                             << ", or set INTAGLIO_GEMMA_GGUF";
  ExpectGoldenIds(path, kSource / "tests/fixtures/gemma3-270m.json");
}

// Committed beside the other GGUF files: vocabularies of the fixtures, without their weights.
TEST(GgufTokenizerIds, OfByteLevelBpeAreThoseOfTransformers) {
  ExpectGoldenIds(kSource / "tests/data/gguf/llama-tokenizer.gguf", kSource / "tests/fixtures/llama-tiny/golden.json");
  ExpectGoldenIds(kSource / "tests/data/gguf/qwen3-tokenizer.gguf", kSource / "tests/fixtures/qwen3-tiny/golden.json");
}

TEST(GgufTokenizerIds, OfSentencePieceBpeAreThoseOfTransformers) {
  ExpectGoldenIds(kSource / "tests/data/gguf/mistral-tokenizer.gguf", kSource / "tests/fixtures/mistral-tiny/golden.json");
  ExpectGoldenIds(kSource / "tests/data/gguf/gemma3-tokenizer.gguf", kSource / "tests/fixtures/gemma3-text-tiny/golden.json");
}

}  // namespace
}  // namespace intaglio
