// What a rank asks for, in the form in which ranks compare it: all of them must ask for the same. Plain bytes, which may be sent.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "collectives/collectives.h"

namespace intaglio::collectives {

enum class CallKind : uint32_t { kBarrier, kAllReduce, kReduceScatter, kAllGather, kAllToAll, kBroadcast };

struct Call {
  CallKind kind = CallKind::kBarrier;
  uint32_t wire = 0;          // Wire of an all-reduce
  int64_t root = 0;           // of a broadcast
  int64_t count = 0;          // floats of a sum, otherwise bytes: of the whole buffer
  uint64_t borders = 0;       // Digest() of the shares, where all ranks have the same ones

  bool operator==(const Call&) const = default;
};

// "all-reduce"
[[nodiscard]] std::string_view Name(CallKind kind);

// Whether two ranks ask for the same. All-to-alls may differ in size; their shares are compared apart.
[[nodiscard]] bool Agree(const Call& a, const Call& b);
// A message for people, of the rank that asks for `mine`.
[[nodiscard]] std::string Disagreement(const Call& mine, int other, const Call& theirs);

[[nodiscard]] bool AreBorders(Borders borders, int size, size_t count);
[[nodiscard]] uint64_t Digest(Borders borders);
[[nodiscard]] inline int64_t BeginOf(Borders borders, int rank) { return borders[static_cast<size_t>(rank)]; }
[[nodiscard]] inline int64_t ShareOf(Borders borders, int rank) {
  return borders[static_cast<size_t>(rank) + 1] - borders[static_cast<size_t>(rank)];
}

}  // namespace intaglio::collectives
