// One request, one answer: the logits of a token are the same bits whatever graph, chunk, bucket, batch, slot, thread count or
// instruction set computed them. Everything here is memcmp.
#include <gtest/gtest.h>

#include <cstring>

#include "kernels/isa.h"
#include "tests/decoder_fixtures.h"
#include "tests/parity/digests.h"
#include "tests/parity/exported.h"

namespace intaglio::test {
namespace {

struct Case {
  std::string fixture, dtype, kv_dtype = "f32";
  // As digests and tests are called.
  [[nodiscard]] std::string name() const { return fixture + "." + dtype + (kv_dtype == "f32" ? "" : "." + kv_dtype); }
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name(); }

class OneAnswer : public testing::TestWithParam<Case> {
 protected:
  OneAnswer() : bundle_(ExportedBundle(GetParam().fixture, GetParam().dtype, {}, GetParam().kv_dtype)), tokens_(LongSequence(GetParam().fixture)) {}

  [[nodiscard]] std::unique_ptr<Engine> Load(int threads = 2, const std::string& isa = {}) const {
    return Engine::Load(bundle_, {.threads = threads, .isa = isa, .verify_checksums = false});
  }
  // Token by token, alone, in a fresh engine.
  [[nodiscard]] Logits Reference() const {
    const auto engine = Load();
    Logits logits;
    Append(*engine, StepKind::kTokenGeneration, engine->AcquireSlot().value(), tokens_, 1, logits);
    return logits;
  }
  void ExpectSame(const Logits& expected, const Logits& actual) const {
    ASSERT_FALSE(actual.empty());
    for (const auto& [position, values] : actual) {
      const std::vector<float>& want = expected.at(position);
      ASSERT_EQ(values.size(), want.size());
      ASSERT_EQ(std::memcmp(values.data(), want.data(), want.size() * sizeof(float)), 0) << "logits after position " << position << " differ";
    }
  }

  std::filesystem::path bundle_;
  std::vector<int32_t> tokens_;
};

TEST_P(OneAnswer, ChunksOfEveryBucketGiveTheBitsOfTokenByToken) {
  const Logits reference = Reference();
  for (int32_t chunk : {1, 2, 3, 7, 16, 41, 64}) {
    SCOPED_TRACE(chunk);
    const auto engine = Load();
    Logits logits;
    Append(*engine, StepKind::kContextEncoding, engine->AcquireSlot().value(), tokens_, chunk, logits);
    ExpectSame(reference, logits);
  }
}

TEST_P(OneAnswer, TheSpeculationGraphGivesTheBitsOfTokenByToken) {
  const Logits reference = Reference();
  for (int32_t rows : {1, 2, 4}) {
    SCOPED_TRACE(rows);
    const auto engine = Load();
    Logits logits;
    Append(*engine, StepKind::kSpeculation, engine->AcquireSlot().value(), tokens_, rows, logits);
    ExpectSame(reference, logits);
  }
}

TEST_P(OneAnswer, RejectedProposalsLeaveNoTrace) {
  const Logits reference = Reference();
  const auto engine = Load();
  const int32_t slot = engine->AcquireSlot().value();
  Logits logits;
  for (size_t i = 0; i + 1 < tokens_.size(); ++i) {
    const std::vector<int32_t> proposed{tokens_[i], tokens_[(i * 7 + 3) % tokens_.size()], tokens_[0], tokens_[1]};
    const StepSequence sequence{.slot = slot, .tokens = proposed, .outputs = 4, .sampling = nullptr};
    const auto outputs = engine->Step(StepKind::kSpeculation, {&sequence, 1});
    logits[outputs[0].position].assign(outputs[0].logits.begin(), outputs[0].logits.end());
    engine->Truncate(slot, static_cast<int32_t>(i) + 1);
  }
  ExpectSame(reference, logits);
}

TEST_P(OneAnswer, SevenNeighboursOfOtherLengthsChangeNothing) {
  const Logits reference = Reference();
  const auto engine = Load();
  const int32_t slot = engine->AcquireSlot().value();
  std::vector<int32_t> others;
  for (size_t i = 0; i < 7; ++i) {  // prompts of 1, 8, 15 … tokens, each another part of the sequence
    others.push_back(engine->AcquireSlot().value());
    Logits ignored;
    Append(*engine, StepKind::kContextEncoding, others.back(), std::span(tokens_).subspan(i * 3, 1 + 7 * i), 64, ignored);
  }
  Logits logits;
  Append(*engine, StepKind::kContextEncoding, slot, std::span(tokens_).first(5), 3, logits);
  for (size_t position = 5; position < tokens_.size(); ++position) {
    std::vector<StepSequence> sequences{{.slot = slot, .tokens = std::span(tokens_).subspan(position, 1), .outputs = 1, .sampling = nullptr}};
    for (size_t i = 0; i < others.size(); ++i) {
      sequences.insert(
          i % 2 == 0 ? sequences.begin() : sequences.end(),
          {.slot = others[i], .tokens = std::span(tokens_).subspan((position * 5 + i) % tokens_.size(), 1), .outputs = 1, .sampling = nullptr});
    }
    for (const StepOutput& output : engine->Step(StepKind::kTokenGeneration, sequences)) {
      if (output.slot == slot) logits[output.position].assign(output.logits.begin(), output.logits.end());
    }
  }
  ExpectSame(reference, logits);
}

TEST_P(OneAnswer, ChunksOfSeveralSequencesShareAStep) {
  const Logits reference = Reference();
  const auto engine = Load();
  const int32_t slot = engine->AcquireSlot().value(), other = engine->AcquireSlot().value();
  Logits logits;
  size_t done = 0;
  for (size_t size = 1; done < tokens_.size(); size = size % 11 + 3) {
    size = std::min(size, tokens_.size() - done);
    const StepSequence sequences[] = {
        {.slot = other, .tokens = std::span(tokens_).subspan(done / 2, 2), .outputs = 1, .sampling = nullptr},
        {.slot = slot, .tokens = std::span(tokens_).subspan(done, size), .outputs = static_cast<int32_t>(size), .sampling = nullptr}};
    for (const StepOutput& output : engine->Step(StepKind::kContextEncoding, sequences)) {
      if (output.slot == slot) logits[output.position].assign(output.logits.begin(), output.logits.end());
    }
    done += size;
  }
  ExpectSame(reference, logits);
}

TEST_P(OneAnswer, AReusedSlotIsAFreshOne) {
  const Logits reference = Reference();
  const auto engine = Load();
  std::vector<int32_t> slots;
  while (const auto slot = engine->AcquireSlot()) slots.push_back(*slot);
  std::vector<int32_t> reversed(tokens_.rbegin(), tokens_.rend());
  for (int32_t slot : slots) {
    Logits ignored;
    Append(*engine, StepKind::kContextEncoding, slot, reversed, 64, ignored);
  }
  for (size_t i : {3u, 0u, 5u}) engine->ReleaseSlot(slots[i]);
  for (int round = 0; round < 2; ++round) {
    const int32_t slot = engine->AcquireSlot().value();
    Logits logits;
    Append(*engine, StepKind::kContextEncoding, slot, tokens_, 16, logits);
    ExpectSame(reference, logits);
  }
}

TEST_P(OneAnswer, ThreadsDoNotMatter) {
  const Logits reference = Reference();
  for (int threads : {1, 2, 3}) {
    SCOPED_TRACE(threads);
    const auto engine = Load(threads);
    Logits logits;
    Append(*engine, StepKind::kContextEncoding, engine->AcquireSlot().value(), std::span(tokens_).first(64), 64, logits);
    Append(*engine, StepKind::kTokenGeneration, 0, std::span(tokens_).subspan(64), 1, logits);
    ExpectSame(reference, logits);
  }
}

TEST_P(OneAnswer, InstructionSetsDoNotMatter) {
  const Logits reference = Reference();
  for (kernels::Isa isa : kernels::SupportedIsas()) {
    SCOPED_TRACE(Name(isa));
    const auto engine = Load(2, std::string(Name(isa)));
    Logits logits;
    const int32_t slot = engine->AcquireSlot().value();
    Append(*engine, StepKind::kContextEncoding, slot, std::span(tokens_).first(70), 16, logits);
    Append(*engine, StepKind::kTokenGeneration, slot, std::span(tokens_).subspan(70), 1, logits);
    ExpectSame(reference, logits);
  }
}

TEST_P(OneAnswer, TheBitsAreThoseOfEveryOtherMachine) {
  std::vector<float> all;
  for (const auto& [position, values] : Reference()) all.insert(all.end(), values.begin(), values.end());
  ExpectDigest("digests.json", GetParam().name(), all);
}

std::vector<Case> AllCases() {
  std::vector<Case> cases;
  for (const char* fixture : kDecoderFixtures) {
    for (const char* dtype : {"f32", "bf16"}) cases.push_back({fixture, dtype});
  }
  // Plain attention, windows, softcap, sinks, chunks and the latent of DeepSeek.
  for (const auto& [fixture, kv_dtype] : {std::pair{"llama-tiny", "bf16"},
                                          {"gemma3-text-tiny", "int8"},
                                          {"gemma2-tiny", "bf16"},
                                          {"gpt-oss-tiny", "int8"},
                                          {"llama4-text-tiny", "bf16"},
                                          {"deepseek-v3-tiny", "int8"}}) {
    cases.push_back({fixture, "f32", kv_dtype});
  }
  return cases;
}
INSTANTIATE_TEST_SUITE_P(Fixtures, OneAnswer, testing::ValuesIn(AllCases()), [](const testing::TestParamInfo<Case>& info) {
  std::string name = info.param.name();
  std::ranges::replace_if(name, [](char c) { return c == '-' || c == '.'; }, '_');
  return name;
});

}  // namespace
}  // namespace intaglio::test
