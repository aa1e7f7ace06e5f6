#include "collectives/rendezvous.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <ctime>
#include <thread>

#include "base/spin.h"
#include "base/strings.h"

namespace intaglio::collectives {
namespace {

static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t) && std::atomic<uint32_t>::is_always_lock_free);

// Sleeps until woken, but not if `word` is no longer `expected`. std::atomic::wait would, but has no time limit.
void FutexWait(std::atomic<uint32_t>& word, uint32_t expected, std::chrono::nanoseconds limit) noexcept {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(limit);
  const timespec time{.tv_sec = seconds.count(), .tv_nsec = (limit - seconds).count()};
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, expected, &time, nullptr, 0);
}

void FutexWakeAll(std::atomic<uint32_t>& word) noexcept { syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0); }

}  // namespace

Rendezvous::Rendezvous(int size, Patience patience) : patience_(patience), seats_(static_cast<size_t>(size)) {}

void Rendezvous::Meet(int rank, std::string_view what) {
  const uint32_t seen = generation_.load(std::memory_order_acquire);   // before the look at is_aborted_, so that no wake-up is missed
  ThrowIfAborted();
  seats_[static_cast<size_t>(rank)].arrivals.fetch_add(1, std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == static_cast<int>(seats_.size())) {
    arrived_.store(0, std::memory_order_relaxed);   // seen by whoever sees the new generation
    WakeAll();
  } else if (!Wait(seen)) {
    Abort(rank, Overdue(rank, what));
  }
  ThrowIfAborted();
}

// False when the deadline passed first.
bool Rendezvous::Wait(uint32_t seen) {
  const auto is_over = [&] { return generation_.load(std::memory_order_acquire) != seen; };
  if (SpinUntil(patience_.spin, is_over)) return true;
  const auto deadline = std::chrono::steady_clock::now() + patience_.deadline;
  sleepers_.fetch_add(1, std::memory_order_seq_cst);
  while (!is_over()) {
    const auto left = deadline - std::chrono::steady_clock::now();
    if (left <= left.zero()) break;
    FutexWait(generation_, seen, left);
  }
  sleepers_.fetch_sub(1, std::memory_order_relaxed);
  return is_over();
}

// Either a sleeper counted itself before the look at sleepers_, or it sees the new generation before it sleeps.
void Rendezvous::WakeAll() noexcept {
  generation_.fetch_add(1, std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) > 0) FutexWakeAll(generation_);
}

Error Rendezvous::Overdue(int rank, std::string_view what) const {
  const uint64_t arrivals = seats_[static_cast<size_t>(rank)].arrivals.load(std::memory_order_relaxed);
  std::vector<size_t> missing;
  for (size_t r = 0; r < seats_.size(); ++r) {
    if (seats_[r].arrivals.load(std::memory_order_relaxed) < arrivals) missing.push_back(r);
  }
  const double seconds = std::chrono::duration<double>(patience_.deadline).count();
  const std::string whom = missing.empty() ? "the last rank" : StrCat("rank ", Join(missing));   // it may have come just now
  return {ErrorCode::kUnavailable, StrCat("waited ", seconds, " s at ", what, " for ", whom, ", which stalls or has ended; start all ranks again")};
}

void Rendezvous::Abort(int rank, const Error& error) noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (is_aborted_.load(std::memory_order_relaxed)) return;
    error_ = error;
    failed_rank_ = rank;
    is_aborted_.store(true, std::memory_order_seq_cst);
  }
  WakeAll();
}

void Rendezvous::ThrowIfAborted() const {
  if (is_aborted_.load(std::memory_order_seq_cst)) [[unlikely]]
    Throw();
}

// Visits are copies and sums, so they end soon.
void Rendezvous::Throw() const {
  for (const Seat& seat : seats_) {
    while (seat.is_visiting.load(std::memory_order_seq_cst)) std::this_thread::yield();
  }
  throw Error(error_->code(), StrCat("rank ", failed_rank_, " of ", seats_.size(), ": ", error_->what()));
}

// A visitor announces itself, then looks whether the group has failed; who leaves makes it fail, then looks for visitors. In whatever
// order, one of them sees the other.
Rendezvous::Visit::Visit(Rendezvous& rendezvous, int rank) : is_visiting_(rendezvous.seats_[static_cast<size_t>(rank)].is_visiting) {
  is_visiting_.store(true, std::memory_order_seq_cst);
  if (!rendezvous.is_aborted_.load(std::memory_order_seq_cst)) return;
  is_visiting_.store(false, std::memory_order_release);
  rendezvous.Throw();
}

Rendezvous::Visit::~Visit() { is_visiting_.store(false, std::memory_order_release); }

}  // namespace intaglio::collectives
