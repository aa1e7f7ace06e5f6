// All-reduces that a thread makes while its rank computes.
#include "runtime/ranks/sender.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "collectives/thread_group.h"
#include "intaglio/error.h"

namespace intaglio::runtime {
namespace {

using collectives::Collectives;
using collectives::ThreadGroup;
using collectives::Wire;

std::vector<float> Values(int rank, size_t count) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), static_cast<float>(rank) * 0.37f);
  return values;
}

TEST(Sender, SumsInPartsWhatOneSumGives) {
  constexpr size_t kPart = 3000;
  ThreadGroup group(4);
  group.Run([&](Collectives& rank) {
    std::vector<float> whole = Values(rank.rank(), 4 * kPart), parts = whole;
    rank.AllReduce(whole);
    Sender sender(rank);
    for (int round = 0; round < 20; ++round) {
      parts = Values(rank.rank(), 4 * kPart);
      for (size_t part = 0; part < 4; ++part) sender.Post(std::span(parts).subspan(part * kPart, kPart), Wire::kF32);
      sender.Wait();
      ASSERT_EQ(std::memcmp(parts.data(), whole.data(), whole.size() * sizeof(float)), 0) << "round " << round;
    }
  });
}

TEST(Sender, SaysAtTheEndThatTheGroupHasFailed) {
  ThreadGroup group(2);
  try {
    group.Run([&](Collectives& rank) {
      std::vector<float> values = Values(rank.rank(), 64);
      if (rank.rank() == 1) throw Error(ErrorCode::kIo, "the disk is on fire");
      Sender sender(rank);
      for (int i = 0; i < 3; ++i) sender.Post(values, Wire::kF32);
      sender.Wait();
      ADD_FAILURE() << "no error";
    });
    ADD_FAILURE() << "no error of the group";
  } catch (const Error& e) { EXPECT_NE(std::string(e.what()).find("the disk is on fire"), std::string::npos) << e.what(); }
}

}  // namespace
}  // namespace intaglio::runtime
