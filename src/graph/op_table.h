// Tables with an entry for each op, looked up by the op's number: what a switch over all ops would be if there were fewer of them.
#pragma once
#include <array>

#include "graph/graph.h"

namespace intaglio::graph {

// True if `table` has one entry an op, in the order of ops.inc. For a static_assert beside the table: an op left out does not compile.
template <typename Entry, size_t size>
consteval bool HasEveryOp(const std::array<Entry, size>& table) {
  constexpr std::array kOps{
#define INTAGLIO_OP(name, text, least, most) Op::k##name,
#include "graph/ops.inc"
#undef INTAGLIO_OP
  };
  if (size != kOps.size()) return false;
  for (size_t i = 0; i < kOps.size(); ++i) {
    if (table[i].op != kOps[i]) return false;
  }
  return true;
}

}  // namespace intaglio::graph
