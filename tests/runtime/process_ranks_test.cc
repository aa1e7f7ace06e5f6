// ProcessRanks and those that follow it, on a group of threads: what they say to each other is the same as between processes.
#include "runtime/ranks/process_ranks.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "collectives/thread_group.h"
#include "exported.h"
#include "made_step.h"

namespace intaglio::runtime {
namespace {

using bundle::Bundle;
using collectives::Collectives;
using collectives::ThreadGroup;

// Threads of this program are not to be bound.
const RankOptions kOptions{.placement = {.threads_per_rank = 1, .binding = Binding::kNone}};
const SamplingParams kSampling{.temperature = 0.8f, .top_p = 0.9f, .repetition_penalty = 1.2f, .seed = 3};
const std::vector<std::vector<int32_t>> kPrompts{{5, 6, 7}, {8, 9}};

void NeverFails(const Error& error) { ADD_FAILURE() << error.what(); }

// Rank 0 has the device, and does with it what it is told.
template <typename Use>
void LeadOver(Collectives& group, const std::filesystem::path& path, const Use& use) {
  const Bundle bundle = Bundle::Open(path);
  Conversation conversation(group, NeverFails);
  {
    ProcessRanks device(bundle, kernels::IsaFromEnvironment(), kOptions, conversation);
    use(device, bundle);
  }
  const auto turn = conversation.TakeTurn();
  conversation.Say({.word = Word::kQuit});
}

void Follow(Collectives& group) {
  std::vector<std::byte> body;
  while (Hear(group, body).word == Word::kLoad) FollowRankZero(body, group);
}

// What the outputs of a step are: logits, then ids.
std::vector<std::byte> OutputsOf(Device& device, const Bundle& bundle) {
  const MadeStep step(bundle, kPrompts, kSampling);
  device.Run(step.plan(), step.view());
  std::vector<std::byte> bytes;
  for (int32_t output = 0; output < 2; ++output) {
    const auto logits = std::as_bytes(device.Result(step.plan(), output));
    bytes.insert(bytes.end(), logits.begin(), logits.end());
  }
  const bundle::Operand& ids = bundle.plans[step.plan()].ids;
  for (int64_t output : {0, 1}) {
    const auto id = device.Read(ids).subspan(static_cast<size_t>(output * ids.stride) * sizeof(int32_t), sizeof(int32_t));
    bytes.insert(bytes.end(), id.begin(), id.end());
  }
  return bytes;
}

std::vector<std::byte> OutputsOfOneRank(const std::string& fixture) {
  const Bundle bundle = Bundle::Open(test::ExportedBundle(fixture));
  CpuDevice device(bundle, kernels::IsaFromEnvironment(), {.num_threads = 1});
  return OutputsOf(device, bundle);
}

struct Case {
  const char* fixture;
  int num_ranks;
};
class ProcessRanksOf : public testing::TestWithParam<Case> {};

TEST_P(ProcessRanksOf, GiveTheBytesOfOneRank) {
  const auto [fixture, num_ranks] = GetParam();
  const std::vector<std::byte> expected = OutputsOfOneRank(fixture);
  const std::filesystem::path path = test::ExportedBundle(fixture, /*speculation=*/0, num_ranks);
  ThreadGroup(num_ranks).Run([&](Collectives& group) {
    if (group.rank() > 0) return Follow(group);
    LeadOver(group, path, [&](Device& device, const Bundle& bundle) {
      for (int step = 0; step < 3; ++step) EXPECT_EQ(OutputsOf(device, bundle), expected);
    });
  });
}
INSTANTIATE_TEST_SUITE_P(Fixtures, ProcessRanksOf,
                         testing::Values(Case{"llama-tiny", 2}, Case{"llama-tiny", 4}, Case{"qwen3-moe-tiny", 4}, Case{"falcon-h1-tiny", 2}),
                         [](const auto& info) {
                           std::string name = info.param.fixture + std::to_string(info.param.num_ranks);
                           std::erase(name, '-');
                           return name;
                         });

// The Error of a group of two whose rank 0 leads with `bundle`.
template <typename OtherRank>
std::string ErrorOf(ErrorCode code, const std::filesystem::path& bundle, const OtherRank& other) {
  const auto run = [&](Collectives& group) {
    if (group.rank() > 0) return other(group);
    LeadOver(group, bundle, [](Device& device, const Bundle& opened) { (void)OutputsOf(device, opened); });
  };
  return MessageOf(code, [&] { ThreadGroup(2).Run(run); });
}

TEST(ProcessRanks, WeightsThatAreMissingNameTheRank) {
  const TemporaryFolder folder;
  const std::filesystem::path copy = folder.path() / "copy";
  std::filesystem::copy(test::ExportedBundle("llama-tiny", 0, 2), copy);
  std::filesystem::remove(copy / bundle::WeightsFile(1));
  const std::string message = ErrorOf(ErrorCode::kDataLoss, copy, Follow);
  EXPECT_TRUE(message.starts_with("rank 1 of 2: ")) << message;
  EXPECT_NE(message.find("weights.rank1.bin: is missing"), std::string::npos) << message;
}

// Says as rank 0 would where another bundle lies at the same path.
TEST(ProcessRanks, AnotherBundleIsAnErrorThatNamesBothRanks) {
  const std::string other = test::ExportedBundle("qwen3-tiny", 0, 2);
  const std::string message = ErrorOf(ErrorCode::kUnavailable, test::ExportedBundle("llama-tiny", 0, 2), [&](Collectives& group) {
    std::vector<std::byte> body;
    (void)Hear(group, body);
    const std::string path = test::ExportedBundle("llama-tiny", 0, 2);
    body.resize(body.size() - path.size() - 1);   // a zero follows, and no cache
    for (char letter : other + '\0') body.push_back(static_cast<std::byte>(letter));
    FollowRankZero(body, group);
  });
  EXPECT_NE(message.find("the bundle's digest of rank "), std::string::npos) << message;
  EXPECT_NE(message.find("; start all ranks with one bundle"), std::string::npos) << message;
}

TEST(ProcessRanks, AfterAFailureEveryStepThrowsTheSame) {
  const auto run = [](Collectives& group) {
    std::vector<std::byte> body;
    if (group.rank() > 0) {
      (void)Hear(group, body);
      return FollowRankZero(body, group);
    }
    const Bundle bundle = Bundle::Open(test::ExportedBundle("llama-tiny", 0, 2));
    Conversation conversation(group, [](const Error&) {});
    ProcessRanks device(bundle, kernels::IsaFromEnvironment(), kOptions, conversation);
    (void)OutputsOf(device, bundle);
    group.Abort({ErrorCode::kDataLoss, "the answer is lost"});
    for (int step = 0; step < 2; ++step) {
      EXPECT_EQ(MessageOf(ErrorCode::kDataLoss, [&] { (void)OutputsOf(device, bundle); }), "rank 0 of 2: the answer is lost");
    }
  };
  EXPECT_THROW(ThreadGroup(2).Run(run), Error);
}

class HostileWord : public testing::TestWithParam<Header> {};

TEST_P(HostileWord, EndsTheGroup) {
  const auto run = [](Collectives& group) {
    if (group.rank() > 0) return Follow(group);
    const Bundle bundle = Bundle::Open(test::ExportedBundle("llama-tiny", 0, 2));
    Conversation conversation(group, [](const Error&) {});
    const ProcessRanks device(bundle, kernels::IsaFromEnvironment(), kOptions, conversation);
    const auto turn = conversation.TakeTurn();
    conversation.Say(GetParam());
    group.Barrier();
  };
  const std::string message = MessageOf(ErrorCode::kDataLoss, [&] { ThreadGroup(2).Run(run); });
  EXPECT_TRUE(message.starts_with("rank 1 of 2: ")) << message;
}
INSTANTIATE_TEST_SUITE_P(Words, HostileWord,
                         testing::Values(Header{.word = Word::kStep, .number = 999}, Header{.word = Word::kStep, .number = 0},
                                         Header{.word = Word::kResult, .number = 0, .output = 999}, Header{.word = Word::kLoad},
                                         Header{.word = static_cast<Word>(77)}));

TEST(FollowRankZero, RefusesToLoadWithoutKnowingHow) {
  const std::vector<std::byte> nothing;
  const auto run = [&](Collectives& group) { FollowRankZero(nothing, group); };
  EXPECT_NE(MessageOf(ErrorCode::kDataLoss, [&] { ThreadGroup(2).Run(run); }).find("without saying how"), std::string::npos);
}

}  // namespace
}  // namespace intaglio::runtime
