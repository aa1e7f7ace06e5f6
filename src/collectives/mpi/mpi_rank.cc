#include "collectives/mpi/mpi_rank.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "base/assert.h"
#include "base/fail.h"
#include "collectives/tree_sum.h"
#include "collectives/wire.h"

namespace intaglio::collectives {
namespace {

constexpr uint64_t kProtocol = 0x31304f4741544e49u;   // "INTAGO01": changes with the frames
// About where sending everything to everybody ceases to be faster than shares; within what plugin.cc has MPI send in one piece.
constexpr size_t kFrameBytes = 16384;
// Of an all-reduce at a time: what is added stays in a cache, and ranks need this much memory beside the buffer.
constexpr size_t kPieceFloats = size_t{1} << 18;
constexpr int kMaxRanks = 64;
constexpr size_t kLineFloats = 16;

bool IsLarge(size_t bytes) { return bytes > kFrameBytes; }

template <typename T>
auto Slice(std::span<T> buffer, Borders borders, int rank) {
  return buffer.subspan(static_cast<size_t>(BeginOf(borders, rank)), static_cast<size_t>(ShareOf(borders, rank)));
}

// What frames do not bring.
template <typename T>
std::span<T> IfLarge(std::span<T> bytes) {
  return IsLarge(bytes.size()) ? bytes : std::span<T>();
}

// Never shrinks, so that a call that has been made before allocates nothing.
template <typename T>
void GrowTo(std::vector<T>& buffer, size_t size) {
  if (buffer.size() < size) buffer.resize(size);
}

void Copy(std::span<const std::byte> from, std::byte* to) {
  if (!from.empty()) std::memcpy(to, from.data(), from.size());
}

}  // namespace

struct MpiRank::Frame {
  uint64_t protocol = kProtocol;
  Call call;
  uint64_t share = 0;   // bytes that the sender has for the receiver, here if they are few
  alignas(64) std::byte bytes[kFrameBytes];

  void Fill(const Call& of, std::span<const std::byte> with) {
    call = of;
    share = with.size();
    if (!IsLarge(share)) Copy(with, bytes);
  }
  [[nodiscard]] std::span<const std::byte> Filled() const {
    return std::as_bytes(std::span(this, 1)).first(offsetof(Frame, bytes) + (IsLarge(share) ? 0 : share));
  }
};

MpiRank::MpiRank(MPI_Comm comm, Patience patience)
    : post_(comm, patience), rank_(post_.rank()), size_(post_.size()), frames_(2 * static_cast<size_t>(size_)), terms_(static_cast<size_t>(size_)) {
  Require(size_ <= kMaxRanks, ErrorCode::kInvalidArgument, "cannot form a group of ", size_, " ranks; use 1 to ", kMaxRanks);
  piece_borders_.resize(terms_.size() + 1);
}

MpiRank::~MpiRank() = default;

std::span<std::byte> MpiRank::IncomingSlot(int rank, size_t bytes) {
  constexpr size_t kLine = kLineFloats * sizeof(float);
  const size_t stride = (bytes + kLine - 1) / kLine * kLine;
  GrowTo(incoming_, stride * terms_.size());
  return std::span(incoming_).subspan(stride * static_cast<size_t>(rank), bytes);
}

MpiRank::Frame& MpiRank::received(int rank) noexcept { return frames_[2 * static_cast<size_t>(rank)]; }
MpiRank::Frame& MpiRank::sent(int rank) noexcept { return frames_[2 * static_cast<size_t>(rank) + 1]; }

template <typename FrameFor>
void MpiRank::Trade(const Call& call, FrameFor frame_for) {
  post_.ThrowIfFailed();
  for (int r = 0; r < size_; ++r) {
    if (r != rank_) post_.Receive(r, std::as_writable_bytes(std::span(&received(r), 1)));
  }
  for (int i = 1; i < size_; ++i) {
    const int to = (rank_ + i) % size_;   // not everybody to rank 0 first
    post_.Send(to, frame_for(to).Filled());
  }
  post_.Finish(Name(call.kind));
  for (int r = 0; r < size_; ++r) {
    const Frame& frame = received(r);
    if (r != rank_ && !(frame.protocol == kProtocol && Agree(frame.call, call))) Disagree(call, r);
  }
}

void MpiRank::Disagree(const Call& call, int other) {
  post_.Abort({ErrorCode::kUnavailable, Disagreement(call, other, received(other).call)});
  post_.Fail();
}

void MpiRank::Share(const Call& call, std::span<const std::byte> bytes) {
  Frame& mine = sent(rank_);
  mine.Fill(call, bytes);
  Trade(call, [&](int) -> const Frame& { return mine; });
}

template <typename To, typename From>
void MpiRank::Move(CallKind kind, To to, From from) {
  for (int r = 0; r < size_; ++r) {
    const std::span<std::byte> bytes = r == rank_ ? std::span<std::byte>() : from(r);
    if (!bytes.empty()) post_.Receive(r, bytes);
  }
  for (int i = 1; i < size_; ++i) {
    const int r = (rank_ + i) % size_;
    const std::span<const std::byte> bytes = to(r);
    if (!bytes.empty()) post_.Send(r, bytes);
  }
  post_.Finish(Name(kind));
}

template <typename PackedOf>
void MpiRank::Sum(std::span<const float> own, Wire wire, PackedOf packed_of, std::span<float> sum) {
  if (wire != Wire::kF32) GrowTo(unpacked_, own.size() * terms_.size());
  for (int r = 0; r < size_; ++r) {
    const float*& term = terms_[static_cast<size_t>(r)];
    if (r == rank_) {
      term = own.data();
    } else if (wire == Wire::kF32) {
      term = reinterpret_cast<const float*>(packed_of(r));
    } else {
      const std::span<float> floats = std::span(unpacked_).subspan(static_cast<size_t>(r) * own.size(), own.size());
      Unpack(packed_of(r), wire, floats);
      term = floats.data();
    }
  }
  TreeSum(terms_, 0, static_cast<int64_t>(own.size()), sum.data());
  Round(sum, wire);
}

void MpiRank::AllReduce(std::span<float> values, Wire wire) {
  const Call call{.kind = CallKind::kAllReduce, .wire = static_cast<uint32_t>(wire), .count = static_cast<int64_t>(values.size())};
  const size_t bytes = values.size() * static_cast<size_t>(BytesOf(wire));
  Round(values, wire);
  if (!IsLarge(bytes)) {
    GrowTo(outgoing_, bytes);
    if (wire != Wire::kF32) Pack(values, wire, outgoing_.data());
    Share(call, wire == Wire::kF32 ? std::as_bytes(values) : std::span(outgoing_).first(bytes));
    return Sum(values, wire, [&](int r) { return received(r).bytes; }, values);
  }
  Share(call, {});
  while (!values.empty()) {
    const std::span<float> piece = values.first(std::min(values.size(), kPieceFloats));
    SumPiece(piece, wire);
    values = values.subspan(piece.size());
  }
}

void MpiRank::SumPiece(std::span<float> values, Wire wire) {
  const size_t lines = (values.size() + kLineFloats - 1) / kLineFloats, ranks = terms_.size();
  for (size_t r = 0; r <= ranks; ++r) piece_borders_[r] = static_cast<int64_t>(std::min(values.size(), lines * r / ranks * kLineFloats));
  SumShare(values, piece_borders_, wire, Slice(values, piece_borders_, rank_));
  SpreadShares(values, piece_borders_, wire);
}

// `values` are rounded already: packing them changes nothing.
void MpiRank::SumShare(std::span<const float> values, Borders borders, Wire wire, std::span<float> mine) {
  std::span<const std::byte> packed = std::as_bytes(values);
  const auto bytes_of = static_cast<size_t>(BytesOf(wire));
  if (wire != Wire::kF32) {
    GrowTo(outgoing_, values.size() * bytes_of);
    Pack(values, wire, outgoing_.data());
    packed = std::span(outgoing_).first(values.size() * bytes_of);
  }
  const auto to = [&](int r) {
    const auto begin = static_cast<size_t>(BeginOf(borders, r)), count = static_cast<size_t>(ShareOf(borders, r));
    return packed.subspan(begin * bytes_of, count * bytes_of);
  };
  const auto slot = [&](int r) { return IncomingSlot(r, mine.size() * bytes_of); };
  Move(CallKind::kAllReduce, to, slot);
  Sum(Slice(values, borders, rank_), wire, [&](int r) { return slot(r).data(); }, mine);
}

void MpiRank::SpreadShares(std::span<float> values, Borders borders, Wire wire) {
  if (wire == Wire::kF32) {
    const auto slice = [&](int r) { return std::as_writable_bytes(Slice(values, borders, r)); };
    return Move(CallKind::kAllReduce, [&](int) { return slice(rank_); }, slice);
  }
  const auto bytes_of = static_cast<size_t>(BytesOf(wire));
  const std::span<float> mine = Slice(values, borders, rank_);
  Pack(mine, wire, outgoing_.data());
  GrowTo(incoming_, values.size() * bytes_of);
  const auto from = [&](int r) {
    const auto begin = static_cast<size_t>(BeginOf(borders, r)), count = static_cast<size_t>(ShareOf(borders, r));
    return std::span(incoming_).subspan(begin * bytes_of, count * bytes_of);
  };
  Move(CallKind::kAllReduce, [&](int) { return std::span(outgoing_).first(mine.size() * bytes_of); }, from);
  for (int r = 0; r < size_; ++r) {
    if (r != rank_) Unpack(from(r).data(), wire, Slice(values, borders, r));
  }
}

void MpiRank::ReduceScatter(std::span<const float> values, Borders borders, std::span<float> mine) {
  Assert(AreBorders(borders, size_, values.size()) && static_cast<int64_t>(mine.size()) == ShareOf(borders, rank_));
  const Call call{.kind = CallKind::kReduceScatter, .count = static_cast<int64_t>(values.size()), .borders = Digest(borders)};
  const auto slice = [&](int r) { return std::as_bytes(Slice(values, borders, r)); };
  const auto frame_for = [&](int r) -> const Frame& {
    sent(r).Fill(call, slice(r));
    return sent(r);
  };
  Trade(call, frame_for);
  const auto slot = [&](int r) { return IfLarge(IncomingSlot(r, mine.size_bytes())); };
  Move(call.kind, [&](int r) { return IfLarge(slice(r)); }, slot);
  const auto packed_of = [&](int r) { return IsLarge(mine.size_bytes()) ? slot(r).data() : received(r).bytes; };
  Sum(Slice(values, borders, rank_), Wire::kF32, packed_of, mine);
}

void MpiRank::AllGather(std::span<std::byte> all, Borders borders) {
  Assert(AreBorders(borders, size_, all.size()));
  const Call call{.kind = CallKind::kAllGather, .count = static_cast<int64_t>(all.size()), .borders = Digest(borders)};
  const auto slice = [&](int r) { return Slice(all, borders, r); };
  Share(call, slice(rank_));
  Move(call.kind, [&](int) { return IfLarge(slice(rank_)); }, [&](int r) { return IfLarge(slice(r)); });
  for (int r = 0; r < size_; ++r) {
    const size_t bytes = slice(r).size();
    if (r != rank_ && !IsLarge(bytes)) Copy(std::span(received(r).bytes).first(bytes), slice(r).data());
  }
}

void MpiRank::AllToAll(std::span<const std::byte> to, Borders to_borders, std::span<std::byte> from, Borders from_borders) {
  Assert(AreBorders(to_borders, size_, to.size()) && AreBorders(from_borders, size_, from.size()));
  const Call call{.kind = CallKind::kAllToAll, .count = static_cast<int64_t>(to.size())};
  CheckShares(call, to_borders, from_borders);
  const auto sends = [&](int r) { return Slice(to, to_borders, r); };
  const auto receives = [&](int r) { return Slice(from, from_borders, r); };
  Move(call.kind, sends, receives);
  Copy(sends(rank_), receives(rank_).data());
}

// Everybody checks all pairs, so that all learn of it when two disagree.
void MpiRank::CheckShares(const Call& call, Borders to_borders, Borders from_borders) {
  const size_t num_borders = to_borders.size();
  std::byte mine[2 * sizeof(int64_t) * (kMaxRanks + 1)];
  Copy(std::as_bytes(to_borders), mine);
  Copy(std::as_bytes(from_borders), mine + to_borders.size_bytes());
  Share(call, std::span(mine).first(2 * to_borders.size_bytes()));
  const auto both_of = [&](int r) {
    return Borders(reinterpret_cast<const int64_t*>(r == rank_ ? sent(r).bytes : received(r).bytes), 2 * num_borders);
  };
  for (int a = 0; a < size_; ++a) {
    for (int b = 0; b < size_; ++b) {
      if (ShareOf(both_of(a).first(num_borders), b) != ShareOf(both_of(b).last(num_borders), a)) Disagree(call, a == rank_ ? b : a);
    }
  }
}

void MpiRank::Broadcast(std::span<std::byte> bytes, int root) {
  Assert(root >= 0 && root < size_);
  const Call call{.kind = CallKind::kBroadcast, .root = root, .count = static_cast<int64_t>(bytes.size())};
  const std::span<std::byte> large = IfLarge(bytes), none;
  Share(call, rank_ == root ? bytes : none);
  Move(call.kind, [&](int) { return rank_ == root ? large : none; }, [&](int r) { return r == root ? large : none; });
  if (rank_ != root && large.empty()) Copy(std::span(received(root).bytes).first(bytes.size()), bytes.data());
}

}  // namespace intaglio::collectives
