// Where the threads of a group meet: a barrier that a stalled rank cannot hold for ever and that a failed one opens. Waiting spins briefly,
// then sleeps on a futex. After Abort nobody meets again: every call throws.
//
// Between two meetings a rank may read and write other ranks' buffers, as a Visit. A rank that leaves by an Error waits for the visits to
// end first, and none begins after Abort: so its caller may free the buffers, whatever state the others are in.
#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string_view>
#include <vector>

#include "intaglio/error.h"

namespace intaglio::collectives {

struct Patience {
  std::chrono::milliseconds deadline{10000};   // for the last rank to arrive, counted from each other's arrival
  std::chrono::microseconds spin{0};           // before sleeping; 0 where ranks share CPUs
};

class Rendezvous {
 public:
  Rendezvous(int size, Patience patience);

  // Returns when all ranks have arrived. `what` is what they are at, for people. Throws the group's Error if there is one, and makes it
  // (kUnavailable, naming the ranks that did not come) when the deadline passes.
  void Meet(int rank, std::string_view what);

  // Makes `error` the group's, if it has none, and wakes everybody.
  void Abort(int rank, const Error& error) noexcept;
  void ThrowIfAborted() const;

  // While it lives, the buffers that were published before the last meeting stay. Throws the group's Error if there is one.
  class Visit {
   public:
    Visit(Rendezvous& rendezvous, int rank);
    ~Visit();
    Visit(const Visit&) = delete;
    Visit& operator=(const Visit&) = delete;

   private:
    std::atomic<bool>& is_visiting_;
  };

 private:
  struct alignas(64) Seat {   // a rank's, on a cache line of its own
    std::atomic<bool> is_visiting{false};
    std::atomic<uint64_t> arrivals{0};
  };
  [[nodiscard]] bool Wait(uint32_t seen);
  [[nodiscard]] Error Overdue(int rank, std::string_view what) const;
  [[noreturn]] void Throw() const;
  void WakeAll() noexcept;

  alignas(64) std::atomic<uint32_t> generation_{0};   // changes with every meeting and with Abort; slept on
  std::atomic<int> sleepers_{0};
  std::atomic<bool> is_aborted_{false};
  alignas(64) std::atomic<int> arrived_{0};
  std::mutex mutex_;   // of who is first to abort
  std::optional<Error> error_;   // constant from is_aborted_ on
  int failed_rank_ = 0;
  const Patience patience_;
  std::vector<Seat> seats_;
};

}  // namespace intaglio::collectives
