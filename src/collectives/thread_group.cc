#include "collectives/thread_group.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>

#include "base/assert.h"
#include "base/cpus.h"
#include "base/fail.h"
#include "base/spin.h"
#include "base/strings.h"
#include "collectives/call.h"
#include "collectives/failure.h"
#include "collectives/tree_sum.h"
#include "collectives/wire.h"

namespace intaglio::collectives {
namespace {

constexpr int kMaxRanks = 64;
constexpr int64_t kLineFloats = 16;   // of a cache line: two ranks do not write to one

// Of this many bytes or fewer, copying into a stage of the group's own is cheaper than a second meeting: 27 us instead of 52 with four ranks
// on two CPUs. Where all spin on CPUs of their own, a meeting is 0.2 us, and 4 KiB take 1.0 us instead of 0.5 (Zen 4, 2026-11-24).
constexpr int64_t kStageBytes = 8192;

// What a rank lays open to the others: until its second meeting, or its next call but one where it is staged.
struct Offer {
  Call call;
  Borders borders{};   // shares of the buffer that others read
  const float* terms = nullptr;
  float* sums = nullptr;
  std::byte* bytes = nullptr;
};

void Copy(const std::byte* from, int64_t count, std::byte* to) {
  if (count > 0) std::memcpy(to, from, static_cast<size_t>(count));   // an empty span may be null, which memcpy must not be given
}

}  // namespace

struct ThreadGroup::Shared {
  Shared(int size, Patience patience) : rendezvous(size, patience), desks(static_cast<size_t>(size)) {}

  Rendezvous rendezvous;
  // A rank's. Its calls take the two places in turns: when it comes to a place again, all ranks have been to the meeting of the call between,
  // so nobody reads there any more.
  struct alignas(64) Desk {
    Offer offers[2];
    alignas(64) std::byte stages[2][kStageBytes];
  };
  std::vector<Desk> desks;
};

class ThreadGroup::Rank final : public Collectives {
 public:
  Rank(Shared& shared, int rank, int size) : shared_(shared), rank_(rank), size_(size), terms_(static_cast<size_t>(size)) {}

  [[nodiscard]] int rank() const noexcept override { return rank_; }
  [[nodiscard]] int size() const noexcept override { return size_; }
  using Collectives::AllReduce;
  void AllReduce(std::span<float> values, Wire wire) override;
  void ReduceScatter(std::span<const float> values, Borders borders, std::span<float> mine) override;
  void AllGather(std::span<std::byte> all, Borders borders) override;
  void AllToAll(std::span<const std::byte> to, Borders to_borders, std::span<std::byte> from, Borders from_borders) override;
  void Broadcast(std::span<std::byte> bytes, int root) override;
  void Barrier() override { Staged({}, nullptr, 0); }
  void Abort(const Error& error) noexcept override { shared_.rendezvous.Abort(rank_, error); }

 private:
  // Publishes the offer, and runs work() once all ranks have and agree() with this one.
  template <typename Agree, typename Work>
  void Together(const Offer& offer, Agree agree, Work work);
  // The same where all ranks call alike.
  template <typename Work>
  void Alike(const Offer& offer, Work work);
  // Where all ranks call alike: stages `count` bytes, and returns when all ranks have. They stay until the next call.
  void Staged(const Call& call, const std::byte* bytes, int64_t count);
  void Publish(const Offer& offer);
  template <typename Agree>
  [[nodiscard]] std::string FindDisagreement(const Call& call, Agree agree) const;
  void SumWhole(std::span<float> values, Wire wire);
  void SumShare(std::span<float> values, Wire wire);
  [[nodiscard]] Shared::Desk& desk(int rank) const { return shared_.desks[static_cast<size_t>(rank)]; }
  [[nodiscard]] const Offer& OfferOf(int rank) const { return desk(rank).offers[turn_]; }
  [[nodiscard]] std::span<const float* const> Terms();

  Shared& shared_;
  int rank_, size_;
  int turn_ = 0;   // which of a desk's places the current call has
  std::vector<const float*> terms_;   // of a sum, by rank
};

// Before it writes, it makes sure that the last call's meeting was one: the other place may still be read if not.
void ThreadGroup::Rank::Publish(const Offer& offer) {
  shared_.rendezvous.ThrowIfAborted();
  turn_ ^= 1;
  desk(rank_).offers[turn_] = offer;
}

template <typename Agree>
std::string ThreadGroup::Rank::FindDisagreement(const Call& call, Agree agree) const {
  for (int other = 0; other < size_; ++other) {
    if (!agree(other)) return Disagreement(call, other, OfferOf(other).call);
  }
  return "";
}

template <typename Agree, typename Work>
void ThreadGroup::Rank::Together(const Offer& offer, Agree agree, Work work) {
  Publish(offer);
  shared_.rendezvous.Meet(rank_, Name(offer.call.kind));
  std::string disagreement;
  {
    const Rendezvous::Visit visit(shared_.rendezvous, rank_);
    disagreement = FindDisagreement(offer.call, agree);
    if (disagreement.empty()) work();
  }
  if (!disagreement.empty()) Abort({ErrorCode::kUnavailable, disagreement});
  shared_.rendezvous.Meet(rank_, Name(offer.call.kind));
}

template <typename Work>
void ThreadGroup::Rank::Alike(const Offer& offer, Work work) {
  Together(offer, [&](int other) { return OfferOf(other).call == offer.call; }, work);
}

void ThreadGroup::Rank::Staged(const Call& call, const std::byte* bytes, int64_t count) {
  Publish({.call = call});
  Copy(bytes, count, desk(rank_).stages[turn_]);
  shared_.rendezvous.Meet(rank_, Name(call.kind));
  const std::string disagreement = FindDisagreement(call, [&](int other) { return OfferOf(other).call == call; });
  if (disagreement.empty()) return;
  Abort({ErrorCode::kUnavailable, disagreement});
  shared_.rendezvous.ThrowIfAborted();
}

std::span<const float* const> ThreadGroup::Rank::Terms() {
  for (int r = 0; r < size_; ++r) terms_[static_cast<size_t>(r)] = OfferOf(r).terms;
  return terms_;
}

void ThreadGroup::Rank::AllReduce(std::span<float> values, Wire wire) {
  Round(values, wire);
  if (static_cast<int64_t>(values.size_bytes()) <= kStageBytes) {
    SumWhole(values, wire);
  } else {
    SumShare(values, wire);
  }
}

// Every rank sums all elements, out of the stages.
void ThreadGroup::Rank::SumWhole(std::span<float> values, Wire wire) {
  const auto count = static_cast<int64_t>(values.size());
  Staged({.kind = CallKind::kAllReduce, .wire = static_cast<uint32_t>(wire), .count = count}, std::as_bytes(values).data(),
         static_cast<int64_t>(values.size_bytes()));
  for (int r = 0; r < size_; ++r) terms_[static_cast<size_t>(r)] = reinterpret_cast<const float*>(desk(r).stages[turn_]);
  TreeSum(terms_, 0, count, values.data());
  Round(values, wire);
}

// Each rank sums a part of the elements and stores it for everybody: an element has one reader and writer.
void ThreadGroup::Rank::SumShare(std::span<float> values, Wire wire) {
  const auto count = static_cast<int64_t>(values.size());
  const auto border = [&](int rank) { return std::min(count, (count + kLineFloats - 1) / kLineFloats * rank / size_ * kLineFloats); };
  const Call call{.kind = CallKind::kAllReduce, .wire = static_cast<uint32_t>(wire), .count = count};
  Alike({.call = call, .terms = values.data(), .sums = values.data()}, [&] {
    const auto terms = Terms();
    float sum[kTreeBlock];
    for (int64_t begin = border(rank_), end = border(rank_ + 1); begin < end; begin += kTreeBlock) {
      const int64_t block = std::min(kTreeBlock, end - begin);
      TreeSum(terms, begin, block, sum);
      Round(std::span(sum).first(static_cast<size_t>(block)), wire);
      for (int r = 0; r < size_; ++r) std::copy_n(sum, block, OfferOf(r).sums + begin);
    }
  });
}

void ThreadGroup::Rank::ReduceScatter(std::span<const float> values, Borders borders, std::span<float> mine) {
  Assert(AreBorders(borders, size_, values.size()) && static_cast<int64_t>(mine.size()) == ShareOf(borders, rank_));
  const Call call{.kind = CallKind::kReduceScatter, .count = static_cast<int64_t>(values.size()), .borders = Digest(borders)};
  Alike({.call = call, .terms = values.data()}, [&] { TreeSum(Terms(), BeginOf(borders, rank_), ShareOf(borders, rank_), mine.data()); });
}

void ThreadGroup::Rank::AllGather(std::span<std::byte> all, Borders borders) {
  Assert(AreBorders(borders, size_, all.size()));
  const auto count = static_cast<int64_t>(all.size());
  const Call call{.kind = CallKind::kAllGather, .count = count, .borders = Digest(borders)};
  const auto gather = [&](auto share_of) {
    for (int r = 0; r < size_; ++r) {
      if (r != rank_) Copy(share_of(r), ShareOf(borders, r), all.data() + BeginOf(borders, r));
    }
  };
  if (count <= kStageBytes) {
    Staged(call, all.data() + BeginOf(borders, rank_), ShareOf(borders, rank_));
    return gather([&](int r) { return desk(r).stages[turn_]; });
  }
  Alike({.call = call, .bytes = all.data()}, [&] { gather([&](int r) { return OfferOf(r).bytes + BeginOf(borders, r); }); });
}

void ThreadGroup::Rank::AllToAll(std::span<const std::byte> to, Borders to_borders, std::span<std::byte> from, Borders from_borders) {
  Assert(AreBorders(to_borders, size_, to.size()) && AreBorders(from_borders, size_, from.size()));
  const Offer offer{.call = {.kind = CallKind::kAllToAll, .count = static_cast<int64_t>(to.size())},
                    .borders = to_borders,
                    .bytes = const_cast<std::byte*>(to.data())};   // read only
  const auto agree = [&](int other) {
    const Offer& theirs = OfferOf(other);
    return Agree(theirs.call, offer.call) && ShareOf(theirs.borders, rank_) == ShareOf(from_borders, other);
  };
  Together(offer, agree, [&] {
    for (int r = 0; r < size_; ++r) {
      const Offer& theirs = OfferOf(r);
      Copy(theirs.bytes + BeginOf(theirs.borders, rank_), ShareOf(from_borders, r), from.data() + BeginOf(from_borders, r));
    }
  });
}

void ThreadGroup::Rank::Broadcast(std::span<std::byte> bytes, int root) {
  Assert(root >= 0 && root < size_);
  const auto count = static_cast<int64_t>(bytes.size());
  Alike({.call = {.kind = CallKind::kBroadcast, .root = root, .count = count}, .bytes = bytes.data()}, [&] {
    if (rank_ != root) Copy(OfferOf(root).bytes, count, bytes.data());
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
    } catch (...) { AbortByException(rank); }
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
