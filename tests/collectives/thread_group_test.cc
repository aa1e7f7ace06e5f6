#include "collectives/thread_group.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <new>
#include <thread>

#include "tests/collectives/groups.h"

namespace intaglio::collectives {
namespace {

std::pair<ErrorCode, std::string> Caught(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& e) { return {e.code(), e.what()}; }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

TEST(ThreadGroup, RefusesSizesThatCannotBe) {
  for (int size : {-1, 0, 65, 1 << 30}) {
    EXPECT_EQ(Caught([&] { ThreadGroup group(size); }).first, ErrorCode::kInvalidArgument) << size;
  }
}

TEST(ThreadGroup, RankZeroRunsOnTheCallersThread) {
  std::thread::id id;
  ThreadGroup(3).Run([&](Collectives& group) {
    if (group.rank() == 0) id = std::this_thread::get_id();
  });
  EXPECT_EQ(id, std::this_thread::get_id());
}

TEST(ThreadGroup, AGroupRunsAsOftenAsOneLikes) {
  ThreadGroup group(4);
  for (int round = 0; round < 20; ++round) {
    group.Run([](Collectives& rank) {
      float one = 1;
      rank.AllReduce({&one, 1});
      EXPECT_EQ(one, 4);
    });
  }
}

// Plain memory, so that TSan sees a missing barrier.
TEST(ThreadGroup, WritesBeforeABarrierAreSeenAfterIt) {
  constexpr int kRanks = 5, kRounds = 500;
  int64_t from[kRanks] = {}, to[kRanks] = {};
  ThreadGroup(kRanks).Run([&](Collectives& group) {
    const int mine = group.rank(), next = (mine + 1) % kRanks;
    for (int round = 0; round < kRounds; ++round) {
      (round % 2 == 0 ? to : from)[mine] = (round % 2 == 0 ? from : to)[next] + 1;
      group.Barrier();
    }
  });
  for (int64_t value : from) EXPECT_EQ(value, kRounds);
}

TEST(ThreadGroup, AnErrorKeepsItsCode) {
  const auto [code, message] = Caught([] {
    ThreadGroup(2).Run([](Collectives& group) {
      if (group.rank() == 1) throw Error(ErrorCode::kNotFound, "weights.rank1.bin is not there");
      group.Barrier();
    });
  });
  EXPECT_EQ(code, ErrorCode::kNotFound);
  EXPECT_EQ(message, "rank 1 of 2: weights.rank1.bin is not there");
}

TEST(ThreadGroup, WhateverIsThrownEndsTheGroupAsAnError) {
  const auto throwing = [](auto exception) {
    return Caught([&] {
      ThreadGroup(2).Run([&](Collectives& group) {
        if (group.rank() == 0) throw exception;
        group.Barrier();
      });
    });
  };
  EXPECT_EQ(throwing(std::bad_alloc()), std::pair(ErrorCode::kResourceExhausted, std::string("rank 0 of 2: out of memory")));
  EXPECT_EQ(throwing(std::runtime_error("odd")), std::pair(ErrorCode::kUnavailable, std::string("rank 0 of 2: odd")));
}

TEST(ThreadGroup, AGroupThatFailedStaysSo) {
  ThreadGroup group(2);
  const auto fail = [&] { group.Run([](Collectives& rank) { rank.Abort({ErrorCode::kIo, "gone"}); }); };
  const auto first = Caught(fail);
  EXPECT_EQ(first.first, ErrorCode::kIo);
  EXPECT_EQ(Caught([&] { group.Run([](Collectives& rank) { rank.Barrier(); }); }), first);
}

TEST(ThreadGroup, AnyThreadMayAbort) {
  ThreadGroup group(2);
  std::jthread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    group.rank(1).Abort({ErrorCode::kUnavailable, "stopped from outside"});
  });
  const auto [code, message] = Caught([&] {
    group.Run([](Collectives& rank) {
      while (true) rank.Barrier();
    });
  });
  EXPECT_EQ(message, "rank 1 of 2: stopped from outside");
}

// Ranks are in the midst of a sum when one of them fails: at some point or other of 200.
TEST(ThreadGroup, NobodyTouchesABufferAfterItsOwnersCallHasThrown) {
  constexpr int kRanks = 4;
  constexpr float kFreed = -7;
  for (int round = 0; round < 200; ++round) {
    ThreadGroup group(kRanks);
    std::jthread saboteur([&] {
      std::this_thread::sleep_for(std::chrono::microseconds(round * 5));
      group.rank(0).Abort({ErrorCode::kUnavailable, "enough"});
    });
    const auto body = [&](Collectives& rank) {
      std::vector<float> values(200000, 1.0f);
      try {
        while (true) rank.AllReduce(values);
      } catch (const Error&) {
        std::ranges::fill(values, kFreed);
        std::this_thread::sleep_for(std::chrono::microseconds(200));
        EXPECT_EQ(std::ranges::count(values, kFreed), std::ssize(values)) << "round " << round << ", rank " << rank.rank();
      }
    };
    EXPECT_THROW(group.Run(body), Error);
  }
}

}  // namespace
}  // namespace intaglio::collectives
