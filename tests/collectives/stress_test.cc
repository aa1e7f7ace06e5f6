// Many rounds of every call in an order drawn at random, with ranks that dawdle: for races that show once in a million.
// INTAGLIO_STRESS_ROUNDS=5000000 build/release/tests/collectives_test --gtest_filter='Stress*'
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include "base/spin.h"
#include "collectives/thread_group.h"
#include "tests/collectives/groups.h"

namespace intaglio::collectives {
namespace {

constexpr int64_t kMostCount = 300;

int64_t Rounds() {
  const char* rounds = std::getenv("INTAGLIO_STRESS_ROUNDS");
  return rounds == nullptr ? 3000 : std::atoll(rounds);
}

// What rank `rank` has at place i in a round. Small whole numbers, so that sums are known without the tree.
float At(int64_t round, int rank, int64_t i) { return static_cast<float>((round * 31 + rank * 7 + i) % 1000); }

// Seldom long enough for the others to fall asleep, mostly not at all.
void Dawdle(uint64_t dice) {
  if (dice % 64 == 0) return std::this_thread::sleep_for(std::chrono::microseconds(dice / 64 % 200));
  if (dice % 4 == 0) {
    for (uint64_t i = 0; i < dice / 64 % 500; ++i) Pause();
  }
}

// One rank's rounds: `draw` is alike on all ranks, `dice` differs.
class Player {
 public:
  explicit Player(Collectives& group) : group_(group) {}

  // Whether the round's call gave what it must.
  [[nodiscard]] bool Play(int64_t round) {
    const uint64_t draw = Hash(1, static_cast<uint64_t>(round));
    count_ = static_cast<int64_t>(draw / 8 % kMostCount);
    borders_ = UnevenBorders(group_.size(), count_);
    values_.resize(static_cast<size_t>(count_));
    for (int64_t i = 0; i < count_; ++i) values_[static_cast<size_t>(i)] = At(round, group_.rank(), i);
    Dawdle(Hash(static_cast<uint64_t>(group_.rank() + 2), static_cast<uint64_t>(round)));
    switch (draw % 6) {
      case 0:
        return AllReduce(round);
      case 1:
        return ReduceScatter(round);
      case 2:
        return AllGather(round);
      case 3:
        return AllToAll(round);
      case 4:
        return Broadcast(round, static_cast<int>(draw / 4096 % static_cast<uint64_t>(group_.size())));
      default:
        group_.Barrier();
        return true;
    }
  }

 private:
  [[nodiscard]] float SumAt(int64_t round, int64_t i) const {
    float sum = 0;
    for (int rank = 0; rank < group_.size(); ++rank) sum += At(round, rank, i);
    return sum;
  }
  [[nodiscard]] int64_t begin(int rank) const { return borders_[static_cast<size_t>(rank)]; }

  bool AllReduce(int64_t round) {
    group_.AllReduce(values_);
    for (int64_t i = 0; i < count_; ++i) {
      if (values_[static_cast<size_t>(i)] != SumAt(round, i)) return false;
    }
    return true;
  }

  bool ReduceScatter(int64_t round) {
    const int64_t first = begin(group_.rank());
    std::vector<float> mine(static_cast<size_t>(begin(group_.rank() + 1) - first));
    group_.ReduceScatter(values_, borders_, mine);
    for (size_t i = 0; i < mine.size(); ++i) {
      if (mine[i] != SumAt(round, first + static_cast<int64_t>(i))) return false;
    }
    return true;
  }

  bool AllGather(int64_t round) {
    std::vector<int64_t> byte_borders = borders_;
    for (int64_t& border : byte_borders) border *= sizeof(float);
    group_.AllGather(std::as_writable_bytes(std::span(values_)), byte_borders);
    for (int rank = 0; rank < group_.size(); ++rank) {
      for (int64_t i = begin(rank); i < begin(rank + 1); ++i) {
        if (values_[static_cast<size_t>(i)] != At(round, rank, i)) return false;
      }
    }
    return true;
  }

  bool AllToAll(int64_t round) {
    std::vector<float> to, from(static_cast<size_t>(group_.size()));
    std::vector<int64_t> byte_borders{0};
    for (int other = 0; other < group_.size(); ++other) {
      to.push_back(At(round, group_.rank(), other));
      byte_borders.push_back((other + 1) * static_cast<int64_t>(sizeof(float)));
    }
    group_.AllToAll(std::as_bytes(std::span(to)), byte_borders, std::as_writable_bytes(std::span(from)), byte_borders);
    for (int other = 0; other < group_.size(); ++other) {
      if (from[static_cast<size_t>(other)] != At(round, other, group_.rank())) return false;
    }
    return true;
  }

  bool Broadcast(int64_t round, int root) {
    group_.Broadcast(std::as_writable_bytes(std::span(values_)), root);
    for (int64_t i = 0; i < count_; ++i) {
      if (values_[static_cast<size_t>(i)] != At(round, root, i)) return false;
    }
    return true;
  }

  Collectives& group_;
  int64_t count_ = 0;
  std::vector<int64_t> borders_;
  std::vector<float> values_;
};

void Stress(std::optional<Patience> patience) {
  ThreadGroup(8, patience).Run([](Collectives& group) {
    Player player(group);
    for (int64_t round = 0; round < Rounds(); ++round) ASSERT_TRUE(player.Play(round)) << "round " << round << ", rank " << group.rank();
  });
}

TEST(Stress, EightRanksThatSleepGiveTheSameAnswersForAges) { Stress(Patience{.deadline = std::chrono::minutes(1)}); }

// Spinning on CPUs that others need: slow, but every interleaving is one that must work.
TEST(Stress, EightRanksThatSpinGiveTheSameAnswersForAges) {
  Stress(Patience{.deadline = std::chrono::minutes(1), .spin = std::chrono::microseconds(20)});
}

// A group ends well at whatever point it is aborted.
TEST(Stress, GroupsThatAreAbortedAtAnyMomentEndWithTheAbort) {
  for (int64_t round = 0; round < Rounds() / 10; ++round) {
    ThreadGroup group(1 + static_cast<int>(round % 8), Patience{.deadline = std::chrono::minutes(1)});
    std::jthread saboteur([&] {
      std::this_thread::sleep_for(std::chrono::microseconds(round % 300));
      group.rank(0).Abort({ErrorCode::kUnavailable, "enough"});
    });
    const auto play = [&](Collectives& rank) {
      Player player(rank);
      for (int64_t i = 0;; ++i) ASSERT_TRUE(player.Play(i));
    };
    EXPECT_THROW(group.Run(play), Error);
  }
}

}  // namespace
}  // namespace intaglio::collectives
