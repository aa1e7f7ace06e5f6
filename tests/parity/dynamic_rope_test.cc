// Dynamic rotary scaling: a prompt's keys are made with the frequencies of the prompt's length, later ones with those of their own place,
// however the steps were cut. llama-tiny, made to stretch from 40 tokens on.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "intaglio/export.h"
#include "tests/parity/exported.h"

namespace intaglio::test {
namespace {

namespace fs = std::filesystem;

class DynamicRope : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = fs::temp_directory_path() / ("intaglio_dynamic_rope." + std::to_string(::getpid()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    fs::copy(FixturePath("llama-tiny"), folder_ / "model");
    nlohmann::json config;
    std::ifstream(folder_ / "model" / "config.json") >> config;
    config["max_position_embeddings"] = 40;
    config["rope_scaling"] = {{"type", "dynamic"}, {"factor", 4.0}};
    std::ofstream(folder_ / "model" / "config.json") << config;
    ExportOptions options;
    options.source = folder_ / "model", options.output = folder_ / "bundle", options.max_context = 128, options.max_batch = 2;
    options.prefill_buckets = {16, 64};
    (void)Export(options);
  }
  static void TearDownTestSuite() { fs::remove_all(folder_); }

  [[nodiscard]] std::unique_ptr<Engine> Load() const {
    return Engine::Load(folder_ / "bundle", {.threads = 2, .isa = {}, .verify_checksums = false});
  }
  std::vector<float> Prompt(Engine& engine, int32_t slot, int32_t length, int32_t chunk) const {
    std::vector<float> logits;
    for (int32_t begin = 0; begin < length; begin += chunk) {
      const auto size = static_cast<size_t>(std::min(chunk, length - begin));
      const StepSequence sequence{.slot = slot,
                                  .tokens = std::span(tokens_).subspan(static_cast<size_t>(begin), size),
                                  .outputs = 1,
                                  .sampling = nullptr,
                                  .prompt_length = length};
      const StepOutput& output = engine.Step(StepKind::kContextEncoding, {&sequence, 1}).back();
      logits.assign(output.logits.begin(), output.logits.end());
    }
    return logits;
  }
  std::vector<float> Decode(Engine& engine, int32_t slot, int32_t count) const {
    Logits logits;
    const auto begin = static_cast<size_t>(engine.length(slot));
    Append(engine, StepKind::kTokenGeneration, slot, std::span(tokens_).subspan(begin, static_cast<size_t>(count)), 1, logits);
    return logits.at(engine.length(slot) - 1);
  }
  static bool IsSame(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
  }

  static inline fs::path folder_;
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
