// A rank that is a process, in a group that MPI started. Everything is point-to-point (post.h): sums are added here, by TreeSum.
//
// A call begins with frames: every rank tells every other what it asks for, with the bytes for that rank where they are few. So a rank
// knows before it moves anything large that all agree, and every call meets all ranks. What is large then goes from buffer to buffer; sums
// go by shares, a piece of the buffer at a time. Memory for frames and pieces is kept from call to call.
#pragma once
#include <mpi.h>

#include <cstdint>
#include <vector>

#include "collectives/call.h"
#include "collectives/collectives.h"
#include "collectives/mpi/post.h"

namespace intaglio::collectives {

class MpiRank final : public Collectives {
 public:
  // All ranks of `comm` construct theirs together.
  MpiRank(MPI_Comm comm, Patience patience);
  ~MpiRank() override;
  MpiRank(const MpiRank&) = delete;
  MpiRank& operator=(const MpiRank&) = delete;

  [[nodiscard]] int rank() const noexcept override { return rank_; }
  [[nodiscard]] int size() const noexcept override { return size_; }
  using Collectives::AllReduce;
  void AllReduce(std::span<float> values, Wire wire) override;
  void ReduceScatter(std::span<const float> values, Borders borders, std::span<float> mine) override;
  void AllGather(std::span<std::byte> all, Borders borders) override;
  void AllToAll(std::span<const std::byte> to, Borders to_borders, std::span<std::byte> from, Borders from_borders) override;
  void Broadcast(std::span<std::byte> bytes, int root) override;
  void Barrier() override { Share({}, {}); }
  void Abort(const Error& error) noexcept override { post_.Abort(error); }

  [[nodiscard]] const Post& post() const noexcept { return post_; }

 private:
  struct Frame;
  // Sends frame_for(r) to every other rank r, and returns when theirs have come and are of the same call.
  template <typename FrameFor>
  void Trade(const Call& call, FrameFor frame_for);
  void CheckShares(const Call& call, Borders to_borders, Borders from_borders);
  [[noreturn]] void Disagree(const Call& call, int other);
  // The same call and bytes for all.
  void Share(const Call& call, std::span<const std::byte> bytes);
  // Sends to(r) to every other rank r, and receives from(r). Empty ones make no message.
  template <typename To, typename From>
  void Move(CallKind kind, To to, From from);

  void SumPiece(std::span<float> values, Wire wire);
  // Stores what all ranks' terms of this rank's share add up to.
  void SumShare(std::span<const float> values, Borders borders, Wire wire, std::span<float> mine);
  void SpreadShares(std::span<float> values, Borders borders, Wire wire);
  // Adds own + packed_of(r) of every other rank r, which travelled as `wire`.
  template <typename PackedOf>
  void Sum(std::span<const float> own, Wire wire, PackedOf packed_of, std::span<float> sum);
  // A place for so many bytes from each rank.
  std::span<std::byte> IncomingSlot(int rank, size_t bytes);
  Frame& received(int rank) noexcept;
  Frame& sent(int rank) noexcept;

  Post post_;
  int rank_, size_;
  std::vector<Frame> frames_;                    // two a rank
  std::vector<std::byte> incoming_, outgoing_;   // as they travel
  std::vector<float> unpacked_;                  // what has travelled in bf16
  std::vector<const float*> terms_;              // of a sum, by rank
  std::vector<int64_t> piece_borders_;
};

}  // namespace intaglio::collectives
