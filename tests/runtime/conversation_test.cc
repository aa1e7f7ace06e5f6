#include "runtime/ranks/conversation.h"

#include <gtest/gtest.h>

#include <cstring>
#include <future>

#include "collectives/thread_group.h"
#include "tests/base/temporary_folder.h"

namespace intaglio::runtime {
namespace {

using collectives::Collectives;
using collectives::Patience;
using collectives::ThreadGroup;

constexpr Patience kPatience{.deadline = std::chrono::milliseconds(3000)};

void NeverFails(const Error& error) { ADD_FAILURE() << error.what(); }

std::vector<std::byte> BytesOf(size_t size) {
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 7 + i / 256);
  return bytes;
}

TEST(Conversation, EveryRankHearsWhatIsSaid) {
  constexpr size_t kSizes[]{0, 1, 2000, 2001, 100000};   // about as much as travels with the word, and more
  ThreadGroup(3).Run([&](Collectives& group) {
    if (group.rank() == 0) {
      Conversation conversation(group, NeverFails);
      const auto turn = conversation.TakeTurn();
      for (size_t size : kSizes) conversation.Say({.word = Word::kStep, .number = size, .output = 5}, BytesOf(size));
      return;
    }
    std::vector<std::byte> body;
    for (size_t size : kSizes) {
      const Header header = Hear(group, body);
      EXPECT_EQ(header.word, Word::kStep);
      EXPECT_EQ(header.number, size);
      EXPECT_EQ(header.output, 5);
      EXPECT_EQ(body, BytesOf(size));
    }
  });
}

TEST(Conversation, RemindersKeepAGroupThatWaitsForItsUser) {
  ThreadGroup(2, kPatience).Run([&](Collectives& group) {
    if (group.rank() > 0) {
      std::vector<std::byte> body;
      EXPECT_EQ(Hear(group, body).word, Word::kQuit);
      return;
    }
    Conversation conversation(group, NeverFails);
    std::this_thread::sleep_for(kPatience.deadline + std::chrono::milliseconds(500));
    const auto turn = conversation.TakeTurn();
    conversation.Say({.word = Word::kQuit});
  });
}

TEST(Conversation, RankZeroLearnsOfAFailureWhileItWaits) {
  std::promise<std::string> failure;
  const auto run = [&](Collectives& group) {
    if (group.rank() > 0) return group.Abort({ErrorCode::kDataLoss, "the answer is lost"});
    const Conversation conversation(group, [&](const Error& error) { failure.set_value(error.what()); });
    EXPECT_EQ(failure.get_future().get(), "rank 1 of 2: the answer is lost");
  };
  EXPECT_THROW(ThreadGroup(2).Run(run), Error);
}

TEST(Conversation, AnotherVersionIsAnErrorThatNamesBoth) {
  const auto run = [](Collectives& group) {
    std::vector<std::byte> body(2048);
    if (group.rank() > 0) return (void)Hear(group, body);
    const Header header{.version = "0.0.7", .word = Word::kLoad};
    std::memcpy(body.data(), &header, sizeof header);
    group.Broadcast(body, /*root=*/0);
    group.Barrier();
  };
  const std::string message = MessageOf(ErrorCode::kUnavailable, [&] { ThreadGroup(2).Run(run); });
  EXPECT_TRUE(message.starts_with("rank 1 of 2: is of version ")) << message;
  EXPECT_TRUE(message.ends_with(", but rank 0 is of 0.0.7; start all ranks with one version")) << message;
}

}  // namespace
}  // namespace intaglio::runtime
