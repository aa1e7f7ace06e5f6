// One request, one answer, for ranks: logits, sampled and greedy tokens and their log-probabilities are those of one rank, bit for bit, at
// 2, 4 and 8 ranks, however these share out the experts and bring their results together. Everything here is memcmp, but for other numbers of
// ranks, whose segments are no subtrees.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "intaglio/error.h"
#include "intaglio/inspect.h"
#include "parity/tolerances.h"
#include "tests/decoder_fixtures.h"
#include "tests/parity/exported.h"

namespace intaglio::test {
namespace {

struct Case {
  std::string fixture;
  Degrees degrees;
  std::string dtype = "f32";
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.fixture << ' ' << c.dtype << " TP " << c.degrees.tp << " EP " << c.degrees.ep << ' ' << c.degrees.dispatch;
}

// What a request gave, with everything that a user can ask for.
struct Answer {
  Logits logits;
  std::vector<int32_t> ids;
  std::vector<float> logprobs;
};

// Greedy, and every processor of logits; the last ones look for thresholds.
std::vector<SamplingParams> Samplings() {
  return {{.num_logprobs = 5},
          {.temperature = 0.8f, .seed = 7},
          {.temperature = 1.3f, .min_p = 0.05f, .num_logprobs = 3, .seed = 1},
          {.repetition_penalty = 1.3f, .presence_penalty = 0.5f, .frequency_penalty = 0.25f},
          {.temperature = 1.0f, .top_k = 7, .num_logprobs = 20, .seed = 9},
          {.temperature = 0.9f, .top_p = 0.9f, .seed = 3},
          {.temperature = 1.1f, .top_p = 0.95f, .min_p = 0.01f, .repetition_penalty = 1.1f, .top_k = 40, .num_logprobs = 1, .seed = 11}};
}

class Ranks : public testing::TestWithParam<Case> {
 protected:
  [[nodiscard]] static std::unique_ptr<Engine> Load(Degrees degrees) {
    return Engine::Load(ExportedBundle(GetParam().fixture, GetParam().dtype, degrees), {.verify_checksums = false});
  }

  // A prompt in chunks, a few tokens one by one, and a step of speculation of which the last tokens are dropped; then batches that sample.
  [[nodiscard]] Answer Run(Degrees degrees) const {
    const auto engine = Load(degrees);
    const std::vector<int32_t> tokens = LongSequence(GetParam().fixture);
    Answer answer;
    const int32_t slot = engine->AcquireSlot().value();
    Append(*engine, StepKind::kContextEncoding, slot, std::span(tokens).first(40), 16, answer.logits);
    Append(*engine, StepKind::kTokenGeneration, slot, std::span(tokens).subspan(40, 4), 1, answer.logits);
    Append(*engine, StepKind::kSpeculation, slot, std::span(tokens).subspan(44, 4), 4, answer.logits);
    engine->Truncate(slot, 46);
    Sample(*engine, tokens, answer);
    return answer;
  }

  // One sequence a way to sample, all in one batch.
  static void Sample(Engine& engine, std::span<const int32_t> tokens, Answer& answer) {
    const std::vector<SamplingParams> samplings = Samplings();
    std::vector<int32_t> slots, last;
    const auto remember = [&](const StepOutput& output) {
      answer.ids.push_back(output.id);
      answer.logprobs.push_back(output.logprob);
      for (const TokenLogprob& top : output.top) answer.ids.push_back(top.id), answer.logprobs.push_back(top.logprob);
    };
    for (size_t i = 0; i < samplings.size(); ++i) {
      slots.push_back(engine.AcquireSlot().value());
      const StepSequence prompt{.slot = slots[i], .tokens = tokens.subspan(2 * i, 9), .outputs = 1, .sampling = &samplings[i], .wants_logits = false};
      const StepOutput& output = engine.Step(StepKind::kContextEncoding, {&prompt, 1}).front();
      EXPECT_TRUE(output.logits.empty());
      remember(output);
      last.push_back(output.id);
    }
    for (int step = 0; step < 3; ++step) {
      std::vector<StepSequence> batch;
      for (size_t i = 0; i < slots.size(); ++i)
        batch.push_back({.slot = slots[i], .tokens = {&last[i], 1}, .outputs = 1, .sampling = &samplings[i], .wants_logits = false});
      for (const StepOutput& output : engine.Step(StepKind::kTokenGeneration, batch)) {
        remember(output);
        last[static_cast<size_t>(std::ranges::find(slots, output.slot) - slots.begin())] = output.id;
      }
    }
  }
};

TEST_P(Ranks, GiveTheBitsOfOne) {
  const Answer one = Run({}), many = Run(GetParam().degrees);
  ASSERT_EQ(many.logits.size(), one.logits.size());
  for (const auto& [position, logits] : one.logits) ASSERT_TRUE(IsSame(many.logits.at(position), logits)) << "after position " << position;
  EXPECT_EQ(many.ids, one.ids);
  EXPECT_TRUE(IsSame(many.logprobs, one.logprobs));
}

bool HasExperts(const std::string& fixture) {
  return std::ranges::any_of(std::initializer_list<const char*>{"mixtral", "moe", "gpt-oss", "llama4", "deepseek", "qwen3-next"},
                             [&](const char* part) { return fixture.find(part) != std::string::npos; });
}

std::vector<Case> AllCases() {
  std::vector<Case> cases;
  for (const std::string fixture : kDecoderFixtures) {
    for (int32_t tp : {2, 4, 8}) {
      for (int32_t ep = 1; ep <= tp; ep *= 2) {
        if (ep == tp || HasExperts(fixture)) cases.push_back({fixture, {.tp = tp, .ep = ep}});
      }
      // Too small for the rule to choose it.
      if (HasExperts(fixture)) cases.push_back({fixture, {.tp = tp, .ep = tp, .dispatch = "exchange"}});
    }
  }
  cases.push_back({"llama-bf16-tiny", {.tp = 4, .ep = 4}, "bf16"});
  cases.push_back({"qwen3-moe-tiny", {.tp = 4, .ep = 2}, "bf16"});
  cases.push_back({"qwen3-moe-tiny", {.tp = 4, .ep = 4, .dispatch = "exchange"}, "bf16"});
  return cases;
}
INSTANTIATE_TEST_SUITE_P(Fixtures, Ranks, testing::ValuesIn(AllCases()), [](const testing::TestParamInfo<Case>& info) {
  std::string name = info.param.fixture + "_" + info.param.dtype + "_tp" + std::to_string(info.param.degrees.tp) + "_ep" +
                     std::to_string(info.param.degrees.ep) + "_" + info.param.degrees.dispatch;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST(ExpertDispatch, IsToldOfEachGraph) {
  const auto count = [](const Degrees& degrees, std::string_view what) {
    const std::string text = Inspect(ExportedBundle("mixtral-tiny", "f32", degrees), InspectView::kSummary);
    int found = 0;
    for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
    return found;
  };
  constexpr int kGraphs = 12;  // four chunks, four batches, and as many to verify proposed tokens
  EXPECT_EQ(count({.tp = 8, .ep = 8, .dispatch = "exchange"}, "experts' results by exchange"), kGraphs);
  EXPECT_EQ(count({.tp = 8, .ep = 8}, "experts' results by reduce"), kGraphs);  // too small for an exchange, and rank 0 has no experts
  EXPECT_EQ(count({}, "experts' results"), 0);
}

TEST(ExpertDispatch, IsRefusedForAModelWithoutExperts) {
  try {
    (void)ExportedBundle("llama-tiny", "f32", {.tp = 2, .ep = 2, .dispatch = "exchange"});
    FAIL() << "exported";
  } catch (const Error& error) { EXPECT_STREQ(error.what(), "export: --expert-dispatch is for mixtures of experts; this model has none"); }
}

// What f32 rounding explains between Transformers and one rank, it explains between one and several.
TEST(OddRanks, DifferAsRoundingDoes) {
  for (const char* fixture :
       {"llama-tiny", "llama-heads-not-divisible-tiny", "olmo2-tiny", "gemma3-text-tiny", "qwen3-moe-tiny", "deepseek-v3-tiny"}) {
    const double tolerance = parity::Tolerances().logits;
    const std::vector<int32_t> tokens = LongSequence(fixture);
    const auto run = [&](Degrees degrees) {
      const auto engine = Engine::Load(ExportedBundle(fixture, "f32", degrees), {.verify_checksums = false});
      Logits logits;
      Append(*engine, StepKind::kContextEncoding, engine->AcquireSlot().value(), std::span(tokens).first(40), 16, logits);
      return logits;
    };
    const Logits one = run({});
    for (int32_t tp : {3, 5, 6, 7}) {
      SCOPED_TRACE(testing::Message() << fixture << " TP " << tp);
      const Logits many = run({.tp = tp, .ep = 1});
      ASSERT_EQ(many.size(), one.size());
      double worst = 0;
      for (const auto& [position, logits] : one) {
        for (size_t i = 0; i < logits.size(); ++i) worst = std::max(worst, std::abs(static_cast<double>(logits[i]) - many.at(position)[i]));
      }
      EXPECT_LE(worst, tolerance);
    }
  }
}

}  // namespace
}  // namespace intaglio::test
