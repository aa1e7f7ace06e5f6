// Dynamic rotary scaling: a prompt's keys are made with the frequencies of the prompt's length, later ones with those of their own place,
// however the steps were cut. llama-tiny, made to stretch from 40 tokens on.
#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "intaglio/export.h"
#include "tests/base/temporary_folder.h"
#include "tests/parity/exported.h"

namespace intaglio::test {
namespace {

namespace fs = std::filesystem;

class DynamicRope : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TemporaryFolder>();
    const fs::path source = folder_->path() / "model";
    fs::copy(FixturePath("llama-tiny"), source);
    nlohmann::json config;
    std::ifstream(source / "config.json") >> config;
    config["max_position_embeddings"] = 40;
    config["rope_scaling"] = {{"type", "dynamic"}, {"factor", 4.0}};
    std::ofstream(source / "config.json") << config;
    ExportOptions options;
    options.source = source, options.output = folder_->path() / "bundle", options.max_context = 128, options.max_batch = 2;
    options.prefill_buckets = {16, 64};
    (void)Export(options);
  }
  static void TearDownTestSuite() { folder_.reset(); }

  [[nodiscard]] std::unique_ptr<Engine> Load() const {
    return Engine::Load(folder_->path() / "bundle", {.threads = 2, .isa = {}, .verify_checksums = false});
  }
  std::vector<float> Prompt(Engine& engine, int32_t slot, int32_t length, int32_t chunk) const {
    return AppendPrompt(engine, slot, std::span(tokens_).first(static_cast<size_t>(length)), chunk);
  }
  std::vector<float> Decode(Engine& engine, int32_t slot, int32_t count) const {
    return DecodeTo(engine, slot, tokens_, engine.length(slot) + count);
  }

  static inline std::unique_ptr<TemporaryFolder> folder_;
  const std::vector<int32_t> tokens_ = LongSequence("llama-tiny");
};

TEST_F(DynamicRope, ChunksOfAPromptChangeNothing) {
  const auto engine = Load();
  const int32_t slot = engine->AcquireSlot().value();
  for (int32_t length : {39, 40, 41, 90}) {
    engine->Truncate(slot, 0);
    const std::vector<float> expected = Prompt(*engine, slot, length, 64);
    for (int32_t chunk : {1, 3, 16, 33}) {
      engine->Truncate(slot, 0);
      EXPECT_TRUE(IsSame(Prompt(*engine, slot, length, chunk), expected)) << length << " tokens in chunks of " << chunk;
    }
  }
}

TEST_F(DynamicRope, KeysOfAPromptStayAsTheyWereMade) {
  const auto engine = Load();
  const int32_t slot = engine->AcquireSlot().value(), other = engine->AcquireSlot().value();
  // Up to the original length there is one set of frequencies: a prompt and single tokens are the same. Beyond, the prompt's keys differ.
  (void)Prompt(*engine, slot, 30, 64);
  EXPECT_TRUE(IsSame(Decode(*engine, slot, 10), Prompt(*engine, other, 40, 64)));
  engine->Truncate(other, 0);
  EXPECT_FALSE(IsSame(Decode(*engine, slot, 10), Prompt(*engine, other, 50, 64)));
}

TEST_F(DynamicRope, NeighboursChangeNothing) {
  const auto engine = Load();
  const int32_t slot = engine->AcquireSlot().value(), other = engine->AcquireSlot().value();
  (void)Prompt(*engine, slot, 50, 64);
  const std::vector<float> expected = Decode(*engine, slot, 1);
  engine->Truncate(slot, 50);
  (void)Prompt(*engine, other, 70, 64);
  const StepSequence both[] = {{.slot = other, .tokens = std::span(tokens_).subspan(70, 1), .outputs = 1, .sampling = nullptr},
                               {.slot = slot, .tokens = std::span(tokens_).subspan(50, 1), .outputs = 1, .sampling = nullptr}};
  const StepOutput& output = engine->Step(StepKind::kTokenGeneration, both).back();
  EXPECT_TRUE(IsSame({output.logits.begin(), output.logits.end()}, expected));
}

}  // namespace
}  // namespace intaglio::test
