#include "compiler/memory_planner.h"

#include <algorithm>
#include <numeric>

namespace intaglio::compiler {
namespace {

bool Overlap(const Lifetime& a, const Lifetime& b) { return a.first_node <= b.last_node && b.first_node <= a.last_node; }

uint64_t AlignUp(uint64_t bytes) { return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment; }

// Indices by falling size; equal sizes stay in order, so a plan is the same on every machine.
std::vector<size_t> LargestFirst(std::span<const Lifetime> values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, std::greater(), [&](size_t index) { return values[index].bytes; });
  return order;
}

}  // namespace

ArenaPlan PlanArena(std::span<const Lifetime> values) {
  ArenaPlan plan{.offsets = std::vector<uint64_t>(values.size()), .arena_bytes = 0};
  std::vector<size_t> placed;  // indices into `values`, by rising offset
  for (size_t index : LargestFirst(values)) {
    uint64_t offset = 0;       // slides up past every live neighbour that is in the way
    for (size_t other : placed) {
      if (!Overlap(values[index], values[other])) continue;
      if (offset + values[index].bytes <= plan.offsets[other]) break;
      offset = std::max(offset, AlignUp(plan.offsets[other] + values[other].bytes));
    }
    plan.offsets[index] = offset;
    plan.arena_bytes = std::max(plan.arena_bytes, AlignUp(offset + values[index].bytes));
    const auto place = std::ranges::upper_bound(placed, offset, std::less(), [&](size_t other) { return plan.offsets[other]; });
    placed.insert(place, index);
  }
  return plan;
}

}  // namespace intaglio::compiler
