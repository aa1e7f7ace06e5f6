#include "intaglio/engine.h"

#include <gtest/gtest.h>

#include <cstring>

#include "exported.h"
#include "intaglio/error.h"

namespace intaglio {
namespace {

using test::ExportedBundle;

std::unique_ptr<Engine> LoadTiny() { return Engine::Load(ExportedBundle("llama-tiny")); }

// The code of the Error that `action` throws; its message must contain `part`.
template <typename Action>
ErrorCode CodeOf(Action action, const std::string& part) {
  try {
    action();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
    return e.code();
  }
  ADD_FAILURE() << "no error";
  return {};
}

std::vector<float> LogitsAfter(Engine& engine, StepKind kind, int32_t slot, std::vector<int32_t> tokens) {
  const StepSequence sequence{.slot = slot, .tokens = tokens, .outputs = 1, .sampling = nullptr};
  const std::span<const float> logits = engine.Step(kind, {&sequence, 1})[0].logits;
  return {logits.begin(), logits.end()};
}

bool HasSameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST(Engine, GivesEachSlotOnce) {
  const auto engine = LoadTiny();
  const int32_t first = engine->AcquireSlot().value();
  EXPECT_NE(engine->AcquireSlot(), first);
  EXPECT_TRUE(engine->AcquireSlot().has_value());
  EXPECT_FALSE(engine->AcquireSlot().has_value());
  engine->ReleaseSlot(first);
  EXPECT_EQ(engine->AcquireSlot(), first);
  EXPECT_EQ(engine->length(first), 0);
}

TEST(Engine, RemembersTheTokensOfASlot) {
  const auto engine = LoadTiny();
  const int32_t slot = engine->AcquireSlot().value();
  (void)LogitsAfter(*engine, StepKind::kContextEncoding, slot, {5, 6, 7});
  (void)LogitsAfter(*engine, StepKind::kTokenGeneration, slot, {8});
  const auto tokens = engine->tokens(slot);
  EXPECT_EQ(std::vector<int32_t>(tokens.begin(), tokens.end()), (std::vector<int32_t>{5, 6, 7, 8}));
}

TEST(Engine, AFailedStepLeavesEverySlotAsItWas) {
  const auto engine = LoadTiny();
  const int32_t slot = engine->AcquireSlot().value(), other = engine->AcquireSlot().value();
  (void)LogitsAfter(*engine, StepKind::kContextEncoding, slot, {5, 6, 7});
  const std::vector<int32_t> good{8}, unknown_id{1 << 20}, negative_id{-1}, too_many(65, 3), none;
  const SamplingParams bad_sampling{.top_p = 0.0f};
  const auto expect_refused = [&](const StepSequence& bad, const std::string& part) {
    const StepSequence sequences[] = {{.slot = slot, .tokens = good, .outputs = 1, .sampling = nullptr}, bad};
    EXPECT_EQ(CodeOf([&] { (void)engine->Step(StepKind::kContextEncoding, sequences); }, part), ErrorCode::kInvalidArgument);
    EXPECT_EQ(engine->length(slot), 3);
    EXPECT_EQ(engine->length(other), 0);
  };
  expect_refused({.slot = other, .tokens = unknown_id, .outputs = 1, .sampling = nullptr}, "1048576");
  expect_refused({.slot = other, .tokens = negative_id, .outputs = 1, .sampling = nullptr}, "-1");
  expect_refused({.slot = other, .tokens = too_many, .outputs = 1, .sampling = nullptr}, "66 rows");
  expect_refused({.slot = other, .tokens = none, .outputs = 0, .sampling = nullptr}, "no tokens");
  expect_refused({.slot = other, .tokens = good, .outputs = 2, .sampling = nullptr}, "2 outputs");
  expect_refused({.slot = other, .tokens = good, .outputs = 1, .sampling = &bad_sampling}, "top_p");
  expect_refused({.slot = slot, .tokens = good, .outputs = 1, .sampling = nullptr}, "twice");
  expect_refused({.slot = 2, .tokens = good, .outputs = 1, .sampling = nullptr}, "slot 2");
  expect_refused({.slot = 99, .tokens = good, .outputs = 1, .sampling = nullptr}, "slot 99");

  const std::vector<float> logits = LogitsAfter(*engine, StepKind::kTokenGeneration, slot, good);
  (void)LogitsAfter(*engine, StepKind::kContextEncoding, other, {5, 6, 7});
  EXPECT_TRUE(HasSameBits(logits, LogitsAfter(*engine, StepKind::kTokenGeneration, other, good)));
}

TEST(Engine, AFullContextTakesNoMore) {
  const auto engine = LoadTiny();
  const int32_t slot = engine->AcquireSlot().value();
  for (int i = 0; i < 3; ++i) (void)LogitsAfter(*engine, StepKind::kContextEncoding, slot, std::vector<int32_t>(64, 3 + i));
  EXPECT_EQ(engine->length(slot), engine->info().max_context);
  EXPECT_EQ(CodeOf([&] { (void)LogitsAfter(*engine, StepKind::kTokenGeneration, slot, {1}); }, "192"), ErrorCode::kInvalidArgument);
}

TEST(Engine, TruncatedTokensLeaveNoTrace) {
  const auto engine = LoadTiny();
  const int32_t slot = engine->AcquireSlot().value(), fresh = engine->AcquireSlot().value();
  (void)LogitsAfter(*engine, StepKind::kContextEncoding, slot, std::vector<int32_t>(60, 9));
  (void)LogitsAfter(*engine, StepKind::kContextEncoding, slot, {1, 2, 3, 4, 5, 6, 7});  // across a block border
  engine->Truncate(slot, 60);
  (void)LogitsAfter(*engine, StepKind::kContextEncoding, fresh, std::vector<int32_t>(60, 9));
  const std::vector<int32_t> next{8, 8, 8, 8, 8, 8};
  EXPECT_TRUE(
      HasSameBits(LogitsAfter(*engine, StepKind::kContextEncoding, slot, next), LogitsAfter(*engine, StepKind::kContextEncoding, fresh, next)));
  EXPECT_EQ(CodeOf([&] { engine->Truncate(slot, 67); }, "67"), ErrorCode::kInvalidArgument);
}

TEST(Engine, SlidingWindowsCannotBeTruncatedBeyondTheirReach) {
  const auto engine = Engine::Load(ExportedBundle("mistral-tiny"));  // a window of 16
  const int32_t slot = engine->AcquireSlot().value();
  for (int i = 0; i < 3; ++i) (void)LogitsAfter(*engine, StepKind::kContextEncoding, slot, std::vector<int32_t>(64, 3));
  EXPECT_EQ(engine->shortest_truncation(slot), 64 + 15);  // the last step began at 128: its first token saw block 1
  EXPECT_EQ(CodeOf([&] { engine->Truncate(slot, 78); }, "reach back to 79"), ErrorCode::kInvalidArgument);
  EXPECT_EQ(engine->length(slot), 192);
  engine->Truncate(slot, 79);
  engine->Truncate(slot, 0);
  EXPECT_EQ(engine->length(slot), 0);
}

TEST(Engine, TokenGenerationTakesOneTokenOfASequence) {
  const auto engine = LoadTiny();
  const int32_t slot = engine->AcquireSlot().value();
  EXPECT_EQ(CodeOf([&] { (void)LogitsAfter(*engine, StepKind::kTokenGeneration, slot, {1, 2}); }, "takes 1"), ErrorCode::kInvalidArgument);
}

TEST(Engine, SpeculationNeedsABundleExportedForIt) {
  const auto engine = LoadTiny();
  const int32_t slot = engine->AcquireSlot().value();
  EXPECT_EQ(CodeOf([&] { (void)LogitsAfter(*engine, StepKind::kSpeculation, slot, {1, 2}); }, "--speculation"), ErrorCode::kUnsupported);
  EXPECT_EQ(engine->max_rows(StepKind::kSpeculation), 0);

  const auto speculating = Engine::Load(ExportedBundle("llama-tiny", /*speculation=*/3));
  EXPECT_EQ(speculating->max_rows(StepKind::kSpeculation), 3 * 4);
  EXPECT_EQ(speculating->max_outputs(StepKind::kSpeculation), 3 * 4);
}

TEST(Engine, GivesTheMostLikelyTokensOnRequest) {
  const auto engine = LoadTiny();
  const int32_t slot = engine->AcquireSlot().value();
  const std::vector<int32_t> tokens{5, 6, 7};
  const SamplingParams sampling{.num_logprobs = 4};
  const StepSequence sequence{.slot = slot, .tokens = tokens, .outputs = 2, .sampling = &sampling};
  const auto outputs = engine->Step(StepKind::kContextEncoding, {&sequence, 1});
  ASSERT_EQ(outputs.size(), 2u);
  EXPECT_EQ(outputs[0].position, 1);
  EXPECT_EQ(outputs[1].position, 2);
  for (const StepOutput& output : outputs) {
    ASSERT_EQ(output.top.size(), 4u);
    EXPECT_EQ(output.top[0].id, output.id);
    EXPECT_EQ(output.top[0].logprob, output.logprob);
    EXPECT_GE(output.top[0].logprob, output.top[3].logprob);
  }
}

TEST(Engine, ReportsTheBundleItLoaded) {
  const auto engine = Engine::Load(ExportedBundle("llama-tiny"), {.threads = 2, .isa = "scalar", .verify_checksums = true});
  EXPECT_EQ(engine->info().architecture, "LlamaForCausalLM");
  EXPECT_EQ(engine->info().isa, "scalar");
  EXPECT_EQ(engine->info().threads, 2);
  EXPECT_EQ(engine->info().max_slots, 3);
  EXPECT_EQ(engine->info().max_context, 192);
}

// Of one rank and of two: rank 0 tells how far it is.
TEST(Engine, PrefaultsAllThatItPlanned) {
  for (int ranks : {1, 2}) {
    uint64_t last = 0, of = 0;
    const EngineOptions options{.threads = 2, .prefault = true, .on_prefault = [&](uint64_t done, uint64_t total) { last = done, of = total; }};
    const ModelInfo info = Engine::Load(ExportedBundle("llama-tiny", /*speculation=*/0, ranks), options)->info();
    EXPECT_EQ(last, of);
    EXPECT_EQ(of * static_cast<uint64_t>(ranks), info.weights_bytes + info.kv_cache_bytes + info.arena_bytes) << ranks;
  }
}

TEST(Engine, RefusesWhatItCannotLoad) {
  EXPECT_EQ(CodeOf([] { (void)Engine::Load("/no/such/bundle"); }, "/no/such/bundle"), ErrorCode::kNotFound);
  EXPECT_EQ(CodeOf([] { (void)Engine::Load(ExportedBundle("llama-tiny"), {.threads = 0, .isa = "sse9", .verify_checksums = true}); }, "sse9"),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(CodeOf([] { (void)Engine::Load(ExportedBundle("llama-tiny"), {.threads = -1, .isa = {}, .verify_checksums = true}); }, "-1"),
            ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace intaglio
