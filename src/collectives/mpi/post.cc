#include "collectives/mpi/post.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <thread>

#include "base/spin.h"
#include "base/strings.h"

namespace intaglio::collectives {
namespace {

constexpr int kMessageTag = 1, kAlarmTag = 2;
constexpr size_t kMostBytes = size_t{1} << 30;   // of a message: MPI counts in int
// After spinning, waiting gives way to whoever shares the CPU, and soon sleeps: longer the longer it waits, but never so long that somebody
// would notice.
constexpr std::chrono::microseconds kYieldTime{500}, kShortestSleep{50}, kLongestSleep{200};

void WaitABit(std::chrono::steady_clock::duration waited) {
  if (waited < kYieldTime) return std::this_thread::yield();
  const auto sleep = std::chrono::duration_cast<std::chrono::microseconds>(waited / 16);
  std::this_thread::sleep_for(std::clamp(sleep, kShortestSleep, kLongestSleep));
}

}  // namespace

Post::Post(MPI_Comm parent, Patience patience) : patience_(patience) {
  MPI_Comm_dup(parent, &comm_);
  MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
  MPI_Comm_rank(comm_, &rank_);
  MPI_Comm_size(comm_, &size_);
  const auto ranks = static_cast<size_t>(size_);
  requests_.reserve(2 * ranks);
  parcels_.reserve(2 * ranks);
  done_.resize(2 * ranks);
  alarms_.resize(ranks);
  alarm_sends_.assign(ranks, MPI_REQUEST_NULL);
  MPI_Irecv(&arriving_, sizeof arriving_, MPI_BYTE, MPI_ANY_SOURCE, kAlarmTag, comm_, &alarm_request_);
}

// Of a failed group, what was sent may be under way for ever, and needs the communicator.
Post::~Post() {
  MPI_Cancel(&alarm_request_);
  MPI_Wait(&alarm_request_, MPI_STATUS_IGNORE);
  if (!has_failed()) MPI_Comm_free(&comm_);
}

void Post::Send(int to, std::span<const std::byte> bytes) {
  Begin(Direction::kSend, to, const_cast<std::byte*>(bytes.data()), bytes.size());   // only read
}

void Post::Receive(int from, std::span<std::byte> bytes) { Begin(Direction::kReceive, from, bytes.data(), bytes.size()); }

void Post::Begin(Direction direction, int peer, std::byte* bytes, size_t count) {
  const std::lock_guard lock(mutex_);
  if (has_failed_) return;   // Finish throws
  for (size_t begin = 0; begin == 0 || begin < count; begin += kMostBytes) {
    const int part = static_cast<int>(std::min(kMostBytes, count - begin));
    MPI_Request request = MPI_REQUEST_NULL;
    const bool is_send = direction == Direction::kSend;
    CheckMpi(is_send ? MPI_Isend(bytes + begin, part, MPI_BYTE, peer, kMessageTag, comm_, &request)
                     : MPI_Irecv(bytes + begin, part, MPI_BYTE, peer, kMessageTag, comm_, &request),
             is_send ? "MPI_Isend" : "MPI_Irecv");
    requests_.push_back(request);
    parcels_.push_back({direction, peer});
  }
  if (done_.size() < requests_.size()) done_.resize(requests_.size());
}

void Post::Finish(std::string_view what) {
  const auto is_over = [&] { return Poll(); };
  if (!SpinUntil(patience_.spin, is_over)) {
    const auto start = std::chrono::steady_clock::now();
    while (!Poll()) {
      const auto waited = std::chrono::steady_clock::now() - start;
      if (waited > patience_.deadline) Abort(Overdue(what));
      WaitABit(waited);
    }
  }
  ThrowIfFailed();
  requests_.clear();
  parcels_.clear();
}

void Post::ThrowIfFailed() {
  if (has_failed()) [[unlikely]]
    Fail();
}

bool Post::Poll() noexcept {
  const std::lock_guard lock(mutex_);
  TestRequests();
  TestAlarms();
  return has_failed_ || !(IsUnderWay(Direction::kSend) || IsUnderWay(Direction::kReceive));
}

// A message that cannot be moved is a reason to fail.   REQUIRES: mutex_
void Post::CheckMpi(int status, std::string_view what) noexcept {
  if (status == MPI_SUCCESS || has_failed_) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(status, text.data(), &length);
  Alarm alarm{.origin = rank_, .code = static_cast<int>(ErrorCode::kUnavailable)};
  const std::string reason = StrCat(what, " failed: ", text.data(), "; start all ranks again");
  reason.copy(alarm.text.data(), alarm.text.size() - 1);
  RaiseAlarm(alarm);
}

void Post::TestRequests() noexcept {
  if (requests_.empty()) return;
  int num_done = 0;
  const auto count = static_cast<int>(requests_.size());
  CheckMpi(MPI_Testsome(count, requests_.data(), &num_done, done_.data(), MPI_STATUSES_IGNORE), "MPI_Testsome");
}

void Post::TestAlarms() noexcept {
  MPI_Status status;
  int is_there = 0;
  while (MPI_Test(&alarm_request_, &is_there, &status) == MPI_SUCCESS && is_there != 0) {
    alarms_[static_cast<size_t>(status.MPI_SOURCE)] = arriving_;
    has_failed_.store(true, std::memory_order_release);
    MPI_Irecv(&arriving_, sizeof arriving_, MPI_BYTE, MPI_ANY_SOURCE, kAlarmTag, comm_, &alarm_request_);
  }
}

bool Post::IsUnderWay(Direction direction) const noexcept {
  for (size_t i = 0; i < requests_.size(); ++i) {
    if (requests_[i] != MPI_REQUEST_NULL && parcels_[i].direction == direction) return true;
  }
  return false;
}

Error Post::Overdue(std::string_view what) const {
  std::vector<int> missing;
  for (size_t i = 0; i < requests_.size(); ++i) {
    if (requests_[i] != MPI_REQUEST_NULL) missing.push_back(parcels_[i].peer);
  }
  std::ranges::sort(missing);
  const auto [first, last] = std::ranges::unique(missing);
  missing.erase(first, last);
  const double seconds = std::chrono::duration<double>(patience_.deadline).count();
  return {ErrorCode::kUnavailable,
          StrCat("waited ", seconds, " s at ", what, " for rank ", Join(missing), ", which stalls or has ended; start all ranks again")};
}

void Post::Abort(const Error& error) noexcept {
  if (has_failed()) return;   // without waiting for a rank that settles
  const std::lock_guard lock(mutex_);
  if (has_failed_) return;
  Alarm alarm{.origin = rank_, .code = static_cast<int>(error.code())};
  std::string_view(error.what()).copy(alarm.text.data(), alarm.text.size() - 1);
  RaiseAlarm(alarm);
}

// Not again, and not in place of another's.   REQUIRES: mutex_
void Post::RaiseAlarm(const Alarm& alarm) noexcept {
  std::optional<Alarm>& mine = alarms_[static_cast<size_t>(rank_)];
  if (mine) return;
  mine = alarm;
  has_failed_.store(true, std::memory_order_release);
  for (int r = 0; r < size_; ++r) {
    if (r != rank_) MPI_Isend(&*mine, sizeof *mine, MPI_BYTE, r, kAlarmTag, comm_, &alarm_sends_[static_cast<size_t>(r)]);
  }
}

// REQUIRES: mutex_, and an alarm
void Post::PassAlarmOn() noexcept {
  const auto any = std::ranges::find_if(alarms_, [](const auto& alarm) { return alarm.has_value(); });
  RaiseAlarm(**any);
}

// Takes back what was offered to be written to, then hears what all ranks have to say. An alarm passed on says that the sender reads and
// writes nobody's bytes any more.
void Post::Settle() {
  const auto start = std::chrono::steady_clock::now();
  const std::unique_lock lock(mutex_);
  for (size_t i = 0; i < requests_.size(); ++i) {
    if (requests_[i] != MPI_REQUEST_NULL && parcels_[i].direction == Direction::kReceive) MPI_Cancel(&requests_[i]);
  }
  const auto is_told = [](const auto& alarm) { return alarm.has_value(); };
  while (true) {
    TestRequests();
    TestAlarms();
    int are_sent = 0;
    MPI_Testall(size_, alarm_sends_.data(), &are_sent, MPI_STATUSES_IGNORE);
    const auto waited = std::chrono::steady_clock::now() - start;
    if (waited > kGrace / 2 || !IsUnderWay(Direction::kReceive)) PassAlarmOn();
    if (waited > kGrace || (are_sent != 0 && std::ranges::all_of(alarms_, is_told))) break;
    WaitABit(waited);
  }
  const Alarm* chosen = nullptr;
  for (const auto& alarm : alarms_) {
    if (alarm && (chosen == nullptr || alarm->origin < chosen->origin)) chosen = &*alarm;
  }
  error_.emplace(static_cast<ErrorCode>(chosen->code), StrCat("rank ", chosen->origin, " of ", size_, ": ", chosen->text.data()));
}

void Post::Fail() {
  if (!error_) Settle();
  throw Error(*error_);
}

}  // namespace intaglio::collectives
