#include "runtime/ranks/load_together.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>

#include "collectives/thread_group.h"
#include "tests/base/temporary_folder.h"

namespace intaglio::runtime {
namespace {

using collectives::Collectives;
using collectives::ThreadGroup;

TEST(LoadTogether, MayTakeLongerThanRanksWaitForEachOther) {
  constexpr collectives::Patience kPatience{.deadline = std::chrono::seconds(1)};
  std::atomic<int> num_loaded{0};
  ThreadGroup(4, kPatience).Run([&](Collectives& group) {
    LoadTogether(group, [&](const std::stop_token&) {
      if (group.rank() == 2) std::this_thread::sleep_for(kPatience.deadline * 2);
      ++num_loaded;
    });
    EXPECT_EQ(num_loaded, 4);
  });
}

TEST(LoadTogether, ARankThatFailsCallsTheOthersOff) {
  std::atomic<int> num_called_off{0};
  const auto run = [&](Collectives& group) {
    LoadTogether(group, [&](const std::stop_token& stop) {
      if (group.rank() == 1) throw Error(ErrorCode::kNotFound, "weights.rank1.bin is not there");
      while (!stop.stop_requested()) std::this_thread::yield();
      ++num_called_off;
    });
  };
  EXPECT_EQ(MessageOf(ErrorCode::kNotFound, [&] { ThreadGroup(3).Run(run); }), "rank 1 of 3: weights.rank1.bin is not there");
  EXPECT_EQ(num_called_off, 2);
}

TEST(LoadTogether, WhatIsNoErrorEndsTheGroupAsWell) {
  const auto run = [](Collectives& group) {
    LoadTogether(group, [&](const std::stop_token&) {
      if (group.rank() == 1) throw std::length_error("a vector is too long");
    });
  };
  EXPECT_EQ(MessageOf(ErrorCode::kUnavailable, [&] { ThreadGroup(2).Run(run); }), "rank 1 of 2: a vector is too long");
}

}  // namespace
}  // namespace intaglio::runtime
