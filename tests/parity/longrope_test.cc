// Sequences that outgrow the length up to which their model rotates them one way: every token of a sequence is rotated alike, by the
// prompt's length or its own place, however the steps were cut. phi3-longrope-tiny switches after 68 tokens.
#include <gtest/gtest.h>

#include "base/fail.h"
#include "tests/parity/exported.h"

namespace intaglio::test {
namespace {

constexpr int32_t kSwitch = 68;

class LongRope : public testing::Test {
 protected:
  [[nodiscard]] std::unique_ptr<Engine> Load() const {
    return Engine::Load(ExportedBundle("phi3-longrope-tiny", "f32"), {.threads = 2, .isa = {}, .verify_checksums = false});
  }
  std::vector<float> Prompt(Engine& engine, int32_t slot, int32_t length, int32_t chunk) const {
    return AppendPrompt(engine, slot, std::span(tokens_).first(static_cast<size_t>(length)), chunk);
  }
  std::vector<float> Decode(Engine& engine, int32_t slot, int32_t length) const { return DecodeTo(engine, slot, tokens_, length); }

  const std::vector<int32_t> tokens_ = LongSequence("phi3-longrope-tiny");
};

TEST_F(LongRope, DecodingAcrossTheSwitchComputesWhatAPromptOfThatLengthDoes) {
  const auto engine = Load();
  const int32_t slot = engine->AcquireSlot().value(), other = engine->AcquireSlot().value();
  (void)Prompt(*engine, slot, kSwitch - 3, 16);
  for (int32_t length = kSwitch - 2; length < kSwitch + 4; ++length) {
    const std::vector<float> decoded = Decode(*engine, slot, length);
    engine->Truncate(other, 0);
    EXPECT_TRUE(IsSame(decoded, Prompt(*engine, other, length, 64))) << length << " tokens";
  }
}

TEST_F(LongRope, AllTokensOfALongPromptAreRotatedAlikeInChunksOfAnySize) {
  const auto engine = Load();
  const int32_t slot = engine->AcquireSlot().value();
  const std::vector<float> expected = Prompt(*engine, slot, 100, 64);
  for (int32_t chunk : {1, 3, 7, 33, 50}) {
    engine->Truncate(slot, 0);
    EXPECT_TRUE(IsSame(Prompt(*engine, slot, 100, chunk), expected)) << "chunks of " << chunk;
  }
}

TEST_F(LongRope, ATruncatedSlotGoesOnAsAShortSequence) {
  const auto engine = Load();
  const int32_t slot = engine->AcquireSlot().value(), fresh = engine->AcquireSlot().value();
  (void)Prompt(*engine, slot, 100, 64);
  engine->Truncate(slot, 40);
  (void)Prompt(*engine, fresh, 40, 64);
  EXPECT_TRUE(IsSame(Decode(*engine, slot, 50), Decode(*engine, fresh, 50)));
}

TEST_F(LongRope, AStepAcrossTheSwitchKeepsTheLogitsOfBothItsParts) {
  const auto engine = Load();
  const int32_t slot = engine->AcquireSlot().value(), fresh = engine->AcquireSlot().value();
  (void)Prompt(*engine, slot, kSwitch - 2, 64);
  const StepSequence proposed{.slot = slot, .tokens = std::span(tokens_).subspan(kSwitch - 2, 4), .outputs = 4, .sampling = nullptr};
  const std::span<const StepOutput> outputs = engine->Step(StepKind::kSpeculation, {&proposed, 1});
  ASSERT_EQ(outputs.size(), 4u);
  std::vector<std::vector<float>> logits;
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(outputs[i].position, kSwitch - 2 + static_cast<int32_t>(i));
    logits.emplace_back(outputs[i].logits.begin(), outputs[i].logits.end());
  }
  (void)Prompt(*engine, fresh, kSwitch - 2, 64);
  for (int32_t i = 0; i < 4; ++i) EXPECT_TRUE(IsSame(logits[static_cast<size_t>(i)], Decode(*engine, fresh, kSwitch - 1 + i))) << "row " << i;
}

TEST_F(LongRope, APromptLengthThatCannotBeIsAnError) {
  const auto engine = Load();
  const int32_t slot = engine->AcquireSlot().value();
  for (int32_t length : {-1, 3, 193}) {   // below the step's own four tokens, beyond the context of 192
    const StepSequence sequence{.slot = slot, .tokens = std::span(tokens_).first(4), .outputs = 1, .sampling = nullptr, .prompt_length = length};
    EXPECT_THROW((void)engine->Step(StepKind::kContextEncoding, {&sequence, 1}), Error) << length;
    EXPECT_EQ(engine->length(slot), 0);
  }
}

}  // namespace
}  // namespace intaglio::test
