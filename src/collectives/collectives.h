// What the ranks that share a model do together. One rank's view of its group; threads (thread_group.h) and processes implement it, and
// tests/collectives/conformance_test.cc holds for all of them.
//
// Every rank of a group makes the same calls in the same order; a call returns when its own result is there and its buffers are free again.
// Sums are those of tree_sum.h, whatever the transport, so 1, 2, 4 and 8 ranks that own whole subtrees of the canonical segments end in the
// same bits.
//
// A group fails as a whole. A rank that calls Abort, stays away for longer than the group's deadline, or asks for something else than the
// others do, ends the group: the call that every other rank is in, and every later one, throws one and the same Error. When a call throws,
// no rank touches the caller's buffers any more.
//
// One thread at a time uses a rank's object, except for Abort, which any thread may call.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "intaglio/error.h"

namespace intaglio::collectives {

// How a buffer is shared out: rank r's share is [borders[r], borders[r + 1]). size() + 1 ascending numbers, the first 0 and the last the
// buffer's size; shares may differ, and be empty. In floats where floats are summed, otherwise in bytes.
using Borders = std::span<const int64_t>;

// How the terms of an all-reduce travel. In bf16 each rank's term is rounded (to nearest even) before the terms are added in f32, and the
// sum is rounded once more: half the bytes, and for any one number of ranks the same bits on every implementation, but other ones than f32's.
enum class Wire : uint8_t { kF32, kBf16 };

class Collectives {
 public:
  virtual ~Collectives() = default;

  [[nodiscard]] virtual int rank() const noexcept = 0;   // of [0, size())
  [[nodiscard]] virtual int size() const noexcept = 0;

  // Replaces `values` by their sum over all ranks.
  virtual void AllReduce(std::span<float> values, Wire wire) = 0;
  void AllReduce(std::span<float> values) { AllReduce(values, Wire::kF32); }

  // Of the same sums, only this rank's share. `mine` may be that share of `values` itself, and must not overlap the rest of it.
  virtual void ReduceScatter(std::span<const float> values, Borders borders, std::span<float> mine) = 0;

  // Every rank has filled its own share of `all`, in place, and receives the others'.
  virtual void AllGather(std::span<std::byte> all, Borders borders) = 0;

  // Share r of `to` goes to rank r; share r of `from` comes from rank r. The two sides of a pair agree on how many bytes that is.
  virtual void AllToAll(std::span<const std::byte> to, Borders to_borders, std::span<std::byte> from, Borders from_borders) = 0;

  // Every rank receives what `root` has in `bytes`.
  virtual void Broadcast(std::span<std::byte> bytes, int root) = 0;

  // Returns when every rank has called it; what they wrote before is visible.
  virtual void Barrier() = 0;

  // Ends the group with `error`, to which the messages of all ranks add which rank it came from. The first one counts. Never blocks.
  virtual void Abort(const Error& error) noexcept = 0;
};

}  // namespace intaglio::collectives
