// Messages between the processes of a group, over point-to-point MPI, with what a group that fails as a whole needs: waiting that ends at
// a deadline, and alarms.
//
// Failing: who has a reason sends all others an alarm with it; who receives one first passes it on as its own. So every rank gets
// one alarm from every other, all ranks have the same ones, and pick the same: that of the lowest rank with a reason of its own. Nobody
// waits longer than kGrace for the alarm of a rank that may be dead. A failed group sends and receives nothing more: what MPI has begun and
// cannot take back stays begun, and touches no buffer, as MPI moves bytes only while it is called.
//
// One thread uses it, except for Abort. MPI is called under a lock, as MPI_THREAD_SERIALIZED asks for.
#pragma once
#include <mpi.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "collectives/rendezvous.h"
#include "intaglio/error.h"

namespace intaglio::collectives {

class Post {
 public:
  static constexpr std::chrono::milliseconds kGrace{1000};

  // All ranks of `parent` construct theirs together; the messages are in a communicator of their own.
  Post(MPI_Comm parent, Patience patience);
  ~Post();
  Post(const Post&) = delete;
  Post& operator=(const Post&) = delete;

  [[nodiscard]] int rank() const noexcept { return rank_; }
  [[nodiscard]] int size() const noexcept { return size_; }

  // Begin to move bytes, which stay where they are until Finish returns or throws. Between two ranks, first sent is first received; a
  // receiver may offer more room than is sent, up to 1 GiB.
  void Send(int to, std::span<const std::byte> bytes);
  void Receive(int from, std::span<std::byte> bytes);
  // Returns when all that was begun has been done. Throws the group's Error if there is one, and makes it (kUnavailable, naming the ranks
  // whose messages did not come) when the deadline passes. `what` is what this rank is at, for people.
  void Finish(std::string_view what);

  // As Collectives::Abort.
  void Abort(const Error& error) noexcept;
  void ThrowIfFailed();
  [[noreturn]] void Fail();   // REQUIRES: has_failed()

  [[nodiscard]] bool has_failed() const noexcept { return has_failed_.load(std::memory_order_acquire); }
  // Of a group that has failed, and thrown: whether this rank got an alarm from `rank`, or sent it.
  [[nodiscard]] bool has_answered(int rank) const noexcept { return alarms_[static_cast<size_t>(rank)].has_value(); }

 private:
  struct Alarm {
    int origin = 0;   // the rank that has the reason
    int code = 0;     // ErrorCode
    std::array<char, 2040> text{};
  };
  enum class Direction : bool { kSend, kReceive };

  void Begin(Direction direction, int peer, std::byte* bytes, size_t count);
  // Whether nothing is under way any more, or the group has failed.
  [[nodiscard]] bool Poll() noexcept;
  void CheckMpi(int status, std::string_view what) noexcept;
  void TestRequests() noexcept;
  void TestAlarms() noexcept;
  [[nodiscard]] bool IsUnderWay(Direction direction) const noexcept;
  [[nodiscard]] Error Overdue(std::string_view what) const;
  void RaiseAlarm(const Alarm& alarm) noexcept;
  void PassAlarmOn() noexcept;
  void Settle();

  const Patience patience_;
  MPI_Comm comm_ = MPI_COMM_NULL;
  int rank_ = 0, size_ = 0;
  std::mutex mutex_;   // of all below, and of MPI
  std::vector<MPI_Request> requests_;   // MPI_REQUEST_NULL: done
  struct Parcel {
    Direction direction;
    int peer;
  };
  std::vector<Parcel> parcels_;   // what each request is for
  std::vector<int> done_;         // of MPI_Testsome
  MPI_Request alarm_request_ = MPI_REQUEST_NULL;
  Alarm arriving_;
  std::vector<std::optional<Alarm>> alarms_;   // by sender
  std::vector<MPI_Request> alarm_sends_;
  std::atomic<bool> has_failed_ = false;
  std::optional<Error> error_;   // once settled
};

}  // namespace intaglio::collectives
