// Going back in a sequence whose layers carry a state: whatever is dropped, the tokens that follow are those of a sequence that never had it.
#include <gtest/gtest.h>

#include <cstring>

#include "intaglio/error.h"
#include "tests/parity/exported.h"

namespace intaglio::test {
namespace {

class RecurrentState : public testing::TestWithParam<std::string> {
 protected:
  RecurrentState()
      : engine_(Engine::Load(ExportedBundle(GetParam(), "f32"), {.threads = 2, .isa = {}, .verify_checksums = false})),
        tokens_(LongSequence(GetParam())),
        slot_(engine_->AcquireSlot().value()) {}

  // The first tokens of the sequence from where the slot is, in one chunk.
  Logits Encode(size_t begin, size_t count) {
    Logits logits;
    const StepSequence sequence{.slot = slot_, .tokens = std::span(tokens_).subspan(begin, count), .outputs = 1, .sampling = nullptr};
    for (const StepOutput& output : engine_->Step(StepKind::kContextEncoding, {&sequence, 1}))
      logits[output.position].assign(output.logits.begin(), output.logits.end());
    return logits;
  }
  // What a slot of its own gives after the first `length` tokens.
  [[nodiscard]] std::vector<float> Fresh(size_t length) {
    const int32_t slot = engine_->AcquireSlot().value();
    Logits logits;
    Append(*engine_, StepKind::kContextEncoding, slot, std::span(tokens_).first(length), 64, logits);
    engine_->ReleaseSlot(slot);
    return logits.at(static_cast<int32_t>(length) - 1);
  }
  void ExpectFresh(const Logits& logits, size_t length) {
    const std::vector<float>&actual = logits.at(static_cast<int32_t>(length) - 1), expected = Fresh(length);
    EXPECT_EQ(std::memcmp(actual.data(), expected.data(), expected.size() * sizeof(float)), 0) << "after " << length << " tokens";
  }

  std::unique_ptr<Engine> engine_;
  const std::vector<int32_t> tokens_;
  const int32_t slot_;
};

TEST_P(RecurrentState, AnyPartOfTheLastChunkCanBeDropped) {
  for (int32_t length : {63, 60, 59, 41, 20, 1}) {
    engine_->Truncate(slot_, 0);
    (void)Encode(0, 20);
    (void)Encode(20, 44);
    if (length < 20) {
      EXPECT_EQ(engine_->shortest_truncation(slot_), 20);
      EXPECT_THROW(engine_->Truncate(slot_, length), Error);
      continue;
    }
    engine_->Truncate(slot_, length);
    EXPECT_EQ(engine_->length(slot_), length);
    ExpectFresh(Encode(static_cast<size_t>(length), 2), static_cast<size_t>(length) + 2);
  }
}

TEST_P(RecurrentState, ASlotCanGoBackAgainBeforeItGoesOn) {
  (void)Encode(0, 64);
  engine_->Truncate(slot_, 50);   // its state is not kept
  engine_->Truncate(slot_, 30);
  ExpectFresh(Encode(30, 1), 31);
  engine_->Truncate(slot_, 30);   // it was computed again a moment ago
  ExpectFresh(Encode(30, 5), 35);
}

TEST_P(RecurrentState, DroppingAStateChangesNoOtherSlot) {
  const int32_t other = engine_->AcquireSlot().value();
  Logits logits;
  Append(*engine_, StepKind::kContextEncoding, other, std::span(tokens_).first(40), 16, logits);
  (void)Encode(0, 64);
  engine_->Truncate(slot_, 10);
  const StepSequence sequences[] = {{.slot = slot_, .tokens = std::span(tokens_).subspan(10, 1), .outputs = 1, .sampling = nullptr},
                                    {.slot = other, .tokens = std::span(tokens_).subspan(40, 1), .outputs = 1, .sampling = nullptr}};
  for (const StepOutput& output : engine_->Step(StepKind::kTokenGeneration, sequences))
    logits[output.position].assign(output.logits.begin(), output.logits.end());
  ExpectFresh(logits, 11);
  ExpectFresh(logits, 41);
}

// Rounds of which 0 to 3 of 3 proposals are accepted, as a speculator would.
TEST_P(RecurrentState, RoundsOfSpeculationGoBackByAnyNumberOfTokens) {
  Logits logits = Encode(0, 7);
  for (size_t length = 7, round = 0; length + 4 < tokens_.size(); ++round) {
    const size_t accepted = round * 5 % 4 + 1;
    std::vector<int32_t> proposed(tokens_.begin() + static_cast<std::ptrdiff_t>(length), tokens_.begin() + static_cast<std::ptrdiff_t>(length) + 4);
    std::fill(proposed.begin() + static_cast<std::ptrdiff_t>(accepted), proposed.end(), tokens_[round]);
    const StepSequence sequence{.slot = slot_, .tokens = proposed, .outputs = 4, .sampling = nullptr};
    const auto outputs = engine_->Step(StepKind::kSpeculation, {&sequence, 1});
    for (const StepOutput& output : outputs.first(accepted)) logits[output.position].assign(output.logits.begin(), output.logits.end());
    length += accepted;
    engine_->Truncate(slot_, static_cast<int32_t>(length));
    ExpectFresh(logits, length);
  }
}

TEST_P(RecurrentState, AChatKeepsWhatItsNextPromptBeginsWith) {
  GenerateRequest request{.prompt = {tokens_.begin(), tokens_.begin() + 30},
                          .max_tokens = 8,
                          .sampling = {},
                          .stop_ids = {},
                          .on_token = {},
                          .on_prefill = {},
                          .slot = slot_};
  (void)Generate(*engine_, request);
  const std::span<const int32_t> held = engine_->tokens(slot_);
  request.prompt.assign(held.begin(), held.end());
  request.prompt.insert(request.prompt.end(), {5, 6, 7});
  const GenerateResult kept = Generate(*engine_, request);
  EXPECT_EQ(kept.reused_tokens, 37);
  request.slot = -1;
  EXPECT_EQ(kept.ids, Generate(*engine_, request).ids);
}

INSTANTIATE_TEST_SUITE_P(Fixtures, RecurrentState, testing::Values("qwen3-next-tiny", "falcon-h1-tiny"),
                         [](const testing::TestParamInfo<std::string>& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace intaglio::test
