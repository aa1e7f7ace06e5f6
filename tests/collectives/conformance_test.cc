// What collectives.h promises, of every implementation and number of ranks.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/strings.h"
#include "tests/collectives/groups.h"

namespace intaglio::collectives {
namespace {

constexpr int64_t kCounts[] = {0, 1, 3, 16, 17, 1000, 4096, 65521};

class Conformance : public testing::TestWithParam<TestedGroup> {
 protected:
  [[nodiscard]] int size() const { return GetParam().size; }
  [[nodiscard]] int last() const { return size() - 1; }
  void Run(const std::function<void(Collectives&)>& body) const { GetParam().run(size(), patience_, body); }
  // Every rank's call fails alike, and with it the whole run. Returns the message.
  std::string ExpectFailure(const std::function<void(Collectives&)>& body) const;

  std::optional<Patience> patience_ = std::nullopt;
};

bool AreSame(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

// The message of the Error that `call` throws; empty if it does not.
template <typename Call>
std::string MessageOf(Call call) {
  try {
    call();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kUnavailable);
    return e.what();
  }
  return "";
}

std::string Conformance::ExpectFailure(const std::function<void(Collectives&)>& body) const {
  std::vector<std::string> messages(static_cast<size_t>(size()));   // each rank fills its own
  const std::string message = MessageOf([&] {
    Run([&](Collectives& group) {
      std::string& mine = messages[static_cast<size_t>(group.rank())];
      mine = MessageOf([&] { body(group); });
      EXPECT_EQ(mine, MessageOf([&] { group.Barrier(); })) << "rank " << group.rank() << ": a later call";
    });
  });
  EXPECT_NE(message, "");
  for (const std::string& mine : messages) EXPECT_TRUE(mine.empty() || mine == message) << "'" << mine << "' beside '" << message << "'";
  EXPECT_TRUE(std::ranges::any_of(messages, [](const std::string& mine) { return !mine.empty(); }));
  return message;
}

TEST_P(Conformance, RanksAreNumberedFromZero) {
  Run([&](Collectives& group) {
    ASSERT_EQ(group.size(), size());
    std::vector<std::byte> ranks(static_cast<size_t>(size()), std::byte{99});
    std::vector<int64_t> borders;
    for (int r = 0; r <= size(); ++r) borders.push_back(r);
    ranks[static_cast<size_t>(group.rank())] = static_cast<std::byte>(group.rank());
    group.AllGather(ranks, borders);
    for (int r = 0; r < size(); ++r) EXPECT_EQ(static_cast<int>(ranks[static_cast<size_t>(r)]), r);
  });
}

TEST_P(Conformance, AllReduceAddsByTheTree) {
  for (int64_t count : kCounts) {
    const std::vector<float> expected = TreeOfInputs(size(), count);
    Run([&](Collectives& group) {
      std::vector<float> values = Inputs(group.rank(), count);
      group.AllReduce(values);
      EXPECT_TRUE(AreSame(values, expected)) << count << " floats on rank " << group.rank();
    });
  }
}

TEST_P(Conformance, RanksThatOwnWholeSubtreesEndInTheBitsOfOneRank) {
  constexpr int kSegments = 8;
  if (kSegments % size() != 0) GTEST_SKIP() << "no rank count that shares eight segments evenly";
  constexpr int64_t kCount = 4099;
  const std::vector<float> one_rank = TreeOfInputs(kSegments, kCount);
  Run([&](Collectives& group) {
    const int owned = kSegments / group.size();
    std::vector<float> values;
    for (int64_t i = 0; i < kCount; ++i) {
      std::vector<float> segments;
      for (int s = 0; s < owned; ++s) segments.push_back(InputAt(group.rank() * owned + s, i));
      values.push_back(Tree(segments));
    }
    group.AllReduce(values);
    EXPECT_TRUE(AreSame(values, one_rank));
  });
}

TEST_P(Conformance, AllReduceInBf16RoundsTermsAndSum) {
  for (int64_t count : kCounts) {
    const std::vector<float> expected = TreeOfInputs(size(), count, Rounded);
    Run([&](Collectives& group) {
      std::vector<float> values = Inputs(group.rank(), count);
      group.AllReduce(values, Wire::kBf16);
      EXPECT_TRUE(AreSame(values, expected)) << count << " floats on rank " << group.rank();
    });
  }
}

// More than an implementation may want to add at a time.
TEST_P(Conformance, AllReduceAddsLongBuffersAlike) {
  constexpr int64_t kCount = 270001;
  const std::vector<float> expected = TreeOfInputs(size(), kCount);
  Run([&](Collectives& group) {
    std::vector<float> values = Inputs(group.rank(), kCount);
    group.AllReduce(values);
    EXPECT_TRUE(AreSame(values, expected)) << "rank " << group.rank();
  });
}

TEST_P(Conformance, ReduceScatterGivesEachRankItsShareOfTheSums) {
  for (int64_t count : kCounts) {
    const std::vector<float> expected = TreeOfInputs(size(), count);
    const std::vector<int64_t> borders = UnevenBorders(size(), count);
    Run([&](Collectives& group) {
      const auto begin = static_cast<size_t>(borders[static_cast<size_t>(group.rank())]),
                 end = static_cast<size_t>(borders[static_cast<size_t>(group.rank()) + 1]);
      std::vector<float> values = Inputs(group.rank(), count), mine(end - begin);
      const std::span share = std::span(values).subspan(begin, end - begin);
      group.ReduceScatter(values, borders, mine);
      EXPECT_TRUE(AreSame(mine, std::span(expected).subspan(begin, end - begin))) << count << " floats on rank " << group.rank();
      EXPECT_TRUE(AreSame(values, Inputs(group.rank(), count))) << "the terms have changed";
      group.ReduceScatter(values, borders, share);
      EXPECT_TRUE(AreSame(share, mine)) << "in place";
    });
  }
}

TEST_P(Conformance, AllGatherGivesEveryRankAllShares) {
  for (int64_t count : kCounts) {
    const std::vector<int64_t> borders = UnevenBorders(size(), count);
    Run([&](Collectives& group) {
      std::vector<std::byte> all(static_cast<size_t>(count)), expected(all.size());
      for (int r = 0; r < group.size(); ++r) {
        for (int64_t i = borders[static_cast<size_t>(r)]; i < borders[static_cast<size_t>(r) + 1]; ++i) {
          expected[static_cast<size_t>(i)] = static_cast<std::byte>(Hash(static_cast<uint64_t>(r), static_cast<uint64_t>(i)));
          if (r == group.rank()) all[static_cast<size_t>(i)] = expected[static_cast<size_t>(i)];
        }
      }
      group.AllGather(all, borders);
      EXPECT_EQ(all, expected) << count << " bytes on rank " << group.rank();
    });
  }
}

// Bytes from one rank to another: none for some pairs.
int64_t BytesBetween(int from, int to, int64_t scale) { return (from * 5 + to * 3) % 7 * scale; }

std::byte ByteBetween(int from, int to, int64_t i) {
  return static_cast<std::byte>(Hash(static_cast<uint64_t>(from * 64 + to), static_cast<uint64_t>(i)));
}

TEST_P(Conformance, AllToAllDeliversEachShareToItsRank) {
  for (int64_t scale : {0, 1, 3, 4096}) {
    Run([&](Collectives& group) {
      std::vector<std::byte> to, expected;
      std::vector<int64_t> to_borders{0}, from_borders{0};
      for (int other = 0; other < group.size(); ++other) {
        for (int64_t i = 0; i < BytesBetween(group.rank(), other, scale); ++i) to.push_back(ByteBetween(group.rank(), other, i));
        for (int64_t i = 0; i < BytesBetween(other, group.rank(), scale); ++i) expected.push_back(ByteBetween(other, group.rank(), i));
        to_borders.push_back(static_cast<int64_t>(to.size()));
        from_borders.push_back(static_cast<int64_t>(expected.size()));
      }
      std::vector<std::byte> from(expected.size());
      group.AllToAll(to, to_borders, from, from_borders);
      EXPECT_EQ(from, expected) << "scale " << scale << " on rank " << group.rank();
    });
  }
}

TEST_P(Conformance, BroadcastGivesEveryRankWhatTheRootHas) {
  for (int64_t count : kCounts) {
    Run([&](Collectives& group) {
      for (int root = 0; root < group.size(); ++root) {
        std::vector<float> values = Inputs(group.rank(), count);
        group.Broadcast(std::as_writable_bytes(std::span(values)), root);
        EXPECT_TRUE(AreSame(values, Inputs(root, count))) << count << " floats from rank " << root;
      }
    });
  }
}

TEST_P(Conformance, CallsFollowEachOtherWithoutABarrier) {
  constexpr int64_t kCount = 257;
  const std::vector<float> sums = TreeOfInputs(size(), kCount);
  Run([&](Collectives& group) {
    std::vector<float> values;
    for (int round = 0; round < 200; ++round) {
      values = Inputs(group.rank(), kCount);
      group.AllReduce(values);
      ASSERT_TRUE(AreSame(values, sums)) << "round " << round;
      values = Inputs(group.rank(), kCount);
      group.Broadcast(std::as_writable_bytes(std::span(values)), round % group.size());
      ASSERT_TRUE(AreSame(values, Inputs(round % group.size(), kCount))) << "round " << round;
      if (round % 3 == 0) group.Barrier();
    }
  });
}

TEST_P(Conformance, AbortEndsTheCallThatOthersAreIn) {
  const std::string message = ExpectFailure([&](Collectives& group) {
    if (group.rank() == last()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));   // most others wait by now, asleep
      group.Abort({ErrorCode::kUnavailable, "the lights went out"});
    }
    std::vector<float> values(100);
    group.AllReduce(values);
  });
  EXPECT_EQ(message, StrCat("rank ", last(), " of ", size(), ": the lights went out"));
}

TEST_P(Conformance, TheFirstOfManyAbortsIsTheOneThatAllSee) {
  const std::string message = ExpectFailure([](Collectives& group) {
    group.Abort({ErrorCode::kUnavailable, StrCat("failure of ", group.rank())});
    group.Barrier();
  });
  EXPECT_NE(message.find(": failure of "), std::string::npos) << message;
}

TEST_P(Conformance, ABodyThatThrowsEndsTheGroup) {
  const std::string message = MessageOf([&] {
    Run([&](Collectives& group) {
      if (group.rank() == last()) throw Error(ErrorCode::kUnavailable, "no more paper");
      group.Barrier();
    });
  });
  EXPECT_EQ(message, StrCat("rank ", last(), " of ", size(), ": no more paper"));
}

TEST_P(Conformance, ARankThatStaysAwayIsNamedToAll) {
  if (size() == 1) GTEST_SKIP() << "nobody to wait for";
  patience_ = Patience{.deadline = std::chrono::milliseconds(200)};
  const std::string message = ExpectFailure([&](Collectives& group) {
    if (group.rank() == last()) std::this_thread::sleep_for(std::chrono::milliseconds(600));
    group.Barrier();
  });
  EXPECT_NE(message.find("waited 0.2 s at barrier for rank "), std::string::npos) << message;
  EXPECT_NE(message.find(StrCat(last(), ", which stalls")), std::string::npos) << message;
}

TEST_P(Conformance, RanksThatAskForDifferentThingsAllLearnOfIt) {
  if (size() == 1) GTEST_SKIP() << "nobody to disagree with";
  std::vector<float> floats[8];
  const auto values = [&](const Collectives& group, size_t count) {
    floats[group.rank()].assign(count, 1.0f);
    return std::span(floats[group.rank()]);
  };
  const auto is_odd_one = [&](const Collectives& group) { return group.rank() == last(); };
  const std::vector<int64_t> borders = UnevenBorders(size(), 40), others = UnevenBorders(size(), 41), none(static_cast<size_t>(size()) + 1);
  const std::function<void(Collectives&)> bodies[] = {
      [&](Collectives& g) { g.AllReduce(values(g, is_odd_one(g) ? 16 : 17)); },
      [&](Collectives& g) { is_odd_one(g) ? g.AllReduce(values(g, 10)) : g.Broadcast(std::as_writable_bytes(values(g, 10)), 0); },
      [&](Collectives& g) { g.Broadcast(std::as_writable_bytes(values(g, 10)), is_odd_one(g) ? 1 : 0); },
      [&](Collectives& g) { is_odd_one(g) ? g.Barrier() : g.AllReduce(values(g, 10)); },
      [&](Collectives& g) { g.AllReduce(values(g, 10), is_odd_one(g) ? Wire::kF32 : Wire::kBf16); },
      [&](Collectives& g) { g.AllReduce(values(g, is_odd_one(g) ? 200000 : 10)); },
      [&](Collectives& g) { g.AllGather(std::as_writable_bytes(values(g, is_odd_one(g) ? 0 : 10)), is_odd_one(g) ? none : borders); },
      [&](Collectives& g) {
        const auto all = std::as_writable_bytes(values(g, 11));
        g.AllToAll(all.first(is_odd_one(g) ? 41 : 40), is_odd_one(g) ? others : borders, {}, none);
      },
  };
  for (const auto& body : bodies) {
    const std::string message = ExpectFailure(body);
    EXPECT_NE(message.find("; do they run the same bundle and version?"), std::string::npos) << message;
  }
}

INSTANTIATE_TEST_SUITE_P(Groups, Conformance, testing::ValuesIn(TestedGroups()),
                         [](const auto& info) { return StrCat(info.param.name, info.param.size); });

}  // namespace
}  // namespace intaglio::collectives
