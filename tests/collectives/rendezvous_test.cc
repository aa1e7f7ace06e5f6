#include "collectives/rendezvous.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "intaglio/error.h"

namespace intaglio::collectives {
namespace {

const Error kEnough(ErrorCode::kUnavailable, "enough");

TEST(Rendezvous, NobodyVisitsAfterAnAbort) {
  Rendezvous rendezvous(2, {});
  rendezvous.Abort(0, kEnough);
  EXPECT_THROW(Rendezvous::Visit(rendezvous, 1), Error);
  EXPECT_THROW(rendezvous.ThrowIfAborted(), Error) << "and nobody waits for the visit that was refused";
}

TEST(Rendezvous, WhoLeavesByAnErrorWaitsForVisitsToEnd) {
  Rendezvous rendezvous(2, {});
  std::atomic<bool> is_inside = false, was_inside = false;
  std::jthread visitor([&] {
    const Rendezvous::Visit visit(rendezvous, 1);
    is_inside = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    was_inside = true;
  });
  while (!is_inside) std::this_thread::yield();
  rendezvous.Abort(0, kEnough);
  EXPECT_THROW(rendezvous.Meet(0, "barrier"), Error);
  EXPECT_TRUE(was_inside);
}

TEST(Rendezvous, AbortDoesNotWaitForVisits) {
  Rendezvous rendezvous(2, {});
  const Rendezvous::Visit visit(rendezvous, 1);
  rendezvous.Abort(1, kEnough);   // on the visitor's own thread: it would wait for ever
}

TEST(Rendezvous, OneRankMeetsNobody) {
  Rendezvous rendezvous(1, {.deadline = std::chrono::milliseconds(0)});
  for (int i = 0; i < 1000; ++i) rendezvous.Meet(0, "barrier");
}

// With no patience at all, whoever is not last fails at once; the last one must then fail too, not wait for a next meeting.
TEST(Rendezvous, WhoComesAfterTheDeadlineFailsLikeTheOthers) {
  Rendezvous rendezvous(2, {.deadline = std::chrono::milliseconds(0)});
  std::string first, second;
  const auto meet = [&](int rank, std::string& message) {
    try {
      rendezvous.Meet(rank, "a test");
    } catch (const Error& e) { message = e.what(); }
  };
  meet(0, first);
  meet(1, second);
  EXPECT_EQ(first, "rank 0 of 2: waited 0 s at a test for rank 1, which stalls or has ended; start all ranks again");
  EXPECT_EQ(second, first);
}

}  // namespace
}  // namespace intaglio::collectives
