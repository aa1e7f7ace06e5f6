#include "collectives/thread_group.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>

#include "base/assert.h"
#include "base/cpus.h"
#include "base/fail.h"
#include "base/spin.h"
#include "base/strings.h"
#include "collectives/tree_sum.h"

namespace intaglio::collectives {
namespace {

constexpr int kMaxRanks = 64;
constexpr int64_t kLineFloats = 16;   // of a cache line: two ranks do not write to one

// What a rank asks for, laid open to the others until its second meeting.
struct Call {
  std::string_view what = "barrier";
  std::string_view unit = "bytes";
  int64_t count = 0;   // units in the whole buffer
  int root = 0;
  Borders borders{};   // shares of the buffer that others read
  const float* terms = nullptr;
  float* sums = nullptr;
  std::byte* bytes = nullptr;
};

bool AreBorders(Borders borders, int size, size_t count) {
  return borders.size() == static_cast<size_t>(size) + 1 && borders.front() == 0 && borders.back() == static_cast<int64_t>(count) &&
         std::ranges::is_sorted(borders);
}

int64_t ShareOf(Borders borders, int rank) { return borders[static_cast<size_t>(rank) + 1] - borders[static_cast<size_t>(rank)]; }

int64_t BeginOf(Borders borders, int rank) { return borders[static_cast<size_t>(rank)]; }

void Copy(const std::byte* from, int64_t count, std::byte* to) {
  if (count > 0) std::memcpy(to, from, static_cast<size_t>(count));   // an empty span may be null, which memcpy must not be given
}

std::string Describe(const Call& call) { return StrCat(call.what, " of ", call.count, ' ', call.unit); }

std::string Disagreement(const Call& mine, int other, const Call& theirs) {
  const bool is_of_details = mine.what == theirs.what && mine.count == theirs.count;
  return StrCat("asks for ", Describe(mine), ", but rank ", other, " for ", is_of_details ? "it with other shares or another root" : Describe(theirs),
                "; do they run the same bundle and version?");
}

}  // namespace

struct ThreadGroup::Shared {
  Shared(int size, Patience patience) : rendezvous(size, patience), calls(static_cast<size_t>(size)) {}

  Rendezvous rendezvous;
  struct alignas(64) Line {
    Call call;
  };
  std::vector<Line> calls;
};

class ThreadGroup::Rank final : public Collectives {
 public:
  Rank(Shared& shared, int rank, int size) : shared_(shared), rank_(rank), size_(size), terms_(static_cast<size_t>(size)) {}

  [[nodiscard]] int rank() const noexcept override { return rank_; }
  [[nodiscard]] int size() const noexcept override { return size_; }
  void AllReduce(std::span<float> values) override;
  void ReduceScatter(std::span<const float> values, Borders borders, std::span<float> mine) override;
  void AllGather(std::span<std::byte> all, Borders borders) override;
  void AllToAll(std::span<const std::byte> to, Borders to_borders, std::span<std::byte> from, Borders from_borders) override;
  void Broadcast(std::span<std::byte> bytes, int root) override;
  void Barrier() override { shared_.rendezvous.Meet(rank_, "barrier"); }
  void Abort(const Error& error) noexcept override { shared_.rendezvous.Abort(rank_, error); }

 private:
  // Publishes the call, and runs work() once all ranks have and agree() with this one.
  template <typename Agree, typename Work>
  void Together(const Call& call, Agree agree, Work work);
  // The same where all ranks call alike.
  template <typename Work>
  void Alike(const Call& call, Work work);
  [[nodiscard]] const Call& CallOf(int rank) const { return shared_.calls[static_cast<size_t>(rank)].call; }
  [[nodiscard]] std::span<const float* const> Terms();

  Shared& shared_;
  int rank_, size_;
  std::vector<const float*> terms_;   // of a sum, by rank
};

template <typename Agree, typename Work>
void ThreadGroup::Rank::Together(const Call& call, Agree agree, Work work) {
  shared_.calls[static_cast<size_t>(rank_)].call = call;
  shared_.rendezvous.Meet(rank_, call.what);
  std::string disagreement;
  {
    const Rendezvous::Visit visit(shared_.rendezvous, rank_);
    for (int other = 0; other < size_ && disagreement.empty(); ++other) {
      if (!agree(other)) disagreement = Disagreement(call, other, CallOf(other));
    }
    if (disagreement.empty()) work();
  }
  if (!disagreement.empty()) Abort({ErrorCode::kUnavailable, disagreement});
  shared_.rendezvous.Meet(rank_, call.what);
}

template <typename Work>
void ThreadGroup::Rank::Alike(const Call& call, Work work) {
  const auto agree = [&](int other) {
    const Call& theirs = CallOf(other);
    return theirs.what == call.what && theirs.count == call.count && theirs.root == call.root && std::ranges::equal(theirs.borders, call.borders);
  };
  Together(call, agree, work);
}

std::span<const float* const> ThreadGroup::Rank::Terms() {
  for (int r = 0; r < size_; ++r) terms_[static_cast<size_t>(r)] = CallOf(r).terms;
  return terms_;
}

// Each rank sums a part of the elements and stores it for everybody: an element has one reader and writer.
void ThreadGroup::Rank::AllReduce(std::span<float> values) {
  const auto count = static_cast<int64_t>(values.size());
  const auto border = [&](int rank) { return std::min(count, (count + kLineFloats - 1) / kLineFloats * rank / size_ * kLineFloats); };
  Alike({.what = "all-reduce", .unit = "floats", .count = count, .terms = values.data(), .sums = values.data()}, [&] {
    const auto terms = Terms();
    float sum[kTreeBlock];
    for (int64_t begin = border(rank_), end = border(rank_ + 1); begin < end; begin += kTreeBlock) {
      const int64_t block = std::min(kTreeBlock, end - begin);
      TreeSum(terms, begin, block, sum);
      for (int r = 0; r < size_; ++r) std::copy_n(sum, block, CallOf(r).sums + begin);
    }
  });
}

void ThreadGroup::Rank::ReduceScatter(std::span<const float> values, Borders borders, std::span<float> mine) {
  Assert(AreBorders(borders, size_, values.size()) && static_cast<int64_t>(mine.size()) == ShareOf(borders, rank_));
  const Call call{
      .what = "reduce-scatter", .unit = "floats", .count = static_cast<int64_t>(values.size()), .borders = borders, .terms = values.data()};
  Alike(call, [&] { TreeSum(Terms(), BeginOf(borders, rank_), ShareOf(borders, rank_), mine.data()); });
}

void ThreadGroup::Rank::AllGather(std::span<std::byte> all, Borders borders) {
  Assert(AreBorders(borders, size_, all.size()));
  Alike({.what = "all-gather", .count = static_cast<int64_t>(all.size()), .borders = borders, .bytes = all.data()}, [&] {
    for (int r = 0; r < size_; ++r) {
      const int64_t begin = BeginOf(borders, r);
      if (r != rank_) Copy(CallOf(r).bytes + begin, ShareOf(borders, r), all.data() + begin);
    }
  });
}

void ThreadGroup::Rank::AllToAll(std::span<const std::byte> to, Borders to_borders, std::span<std::byte> from, Borders from_borders) {
  Assert(AreBorders(to_borders, size_, to.size()) && AreBorders(from_borders, size_, from.size()));
  constexpr std::string_view kWhat = "all-to-all";
  const Call call{
      .what = kWhat, .count = static_cast<int64_t>(to.size()), .borders = to_borders, .bytes = const_cast<std::byte*>(to.data())};   // read only
  const auto agree = [&](int other) {
    const Call& theirs = CallOf(other);
    return theirs.what == kWhat && ShareOf(theirs.borders, rank_) == ShareOf(from_borders, other);
  };
  Together(call, agree, [&] {
    for (int r = 0; r < size_; ++r) {
      const Call& theirs = CallOf(r);
      Copy(theirs.bytes + BeginOf(theirs.borders, rank_), ShareOf(from_borders, r), from.data() + BeginOf(from_borders, r));
    }
  });
}

void ThreadGroup::Rank::Broadcast(std::span<std::byte> bytes, int root) {
  Assert(root >= 0 && root < size_);
  const auto count = static_cast<int64_t>(bytes.size());
  Alike({.what = "broadcast", .count = count, .root = root, .bytes = bytes.data()}, [&] {
    if (rank_ != root) Copy(CallOf(root).bytes, count, bytes.data());
  });
}

ThreadGroup::ThreadGroup(int size, std::optional<Patience> patience) {
  Require(size >= 1 && size <= kMaxRanks, ErrorCode::kInvalidArgument, "cannot form a group of ", size, " ranks; use 1 to ", kMaxRanks);
  const bool fits = static_cast<size_t>(size) <= UsableCpus().size();
  shared_ = std::make_unique<Shared>(size, patience.value_or(Patience{.spin = fits ? kSpinTime : std::chrono::microseconds(0)}));
  ranks_.reserve(static_cast<size_t>(size));
  for (int r = 0; r < size; ++r) ranks_.emplace_back(*shared_, r, size);
}

ThreadGroup::~ThreadGroup() = default;

Collectives& ThreadGroup::rank(int rank) noexcept { return ranks_[static_cast<size_t>(rank)]; }

void ThreadGroup::Run(const std::function<void(Collectives&)>& body) {
  const auto run = [&](Rank& rank) noexcept {
    try {
      body(rank);
    } catch (const Error& e) { rank.Abort(e); } catch (const std::bad_alloc&) {
      rank.Abort({ErrorCode::kResourceExhausted, "out of memory"});
    } catch (const std::exception& e) { rank.Abort({ErrorCode::kUnavailable, e.what()}); }
  };
  {
    std::vector<std::jthread> threads;   // joined at the end of the block
    try {
      for (size_t r = 1; r < ranks_.size(); ++r) threads.emplace_back(run, std::ref(ranks_[r]));
    } catch (const std::system_error& e) {
      ranks_[0].Abort({ErrorCode::kResourceExhausted, StrCat("cannot start a thread for every rank: ", e.what())});
    }
    run(ranks_[0]);
  }
  shared_->rendezvous.ThrowIfAborted();
}

}  // namespace intaglio::collectives
