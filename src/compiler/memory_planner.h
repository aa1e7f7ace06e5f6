// Gives every intermediate value of a graph an offset in one arena. Values whose lifetimes do not overlap share bytes.
// Planned once, at export; the runtime only adds base + offset. Pure function, safe from any thread.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace intaglio::compiler {

inline constexpr uint64_t kArenaAlignment = 64;

struct Lifetime {
  int32_t first_node = 0, last_node = 0;  // inclusive, in execution order
  uint64_t bytes = 0;
};

struct ArenaPlan {
  std::vector<uint64_t> offsets;          // one a lifetime, multiples of kArenaAlignment
  uint64_t arena_bytes = 0;
};

// Largest value first, each at the lowest offset free for its whole lifetime (greedy by size, as in Pisarchyk and Lee,
// arXiv 2001.03288).
[[nodiscard]] ArenaPlan PlanArena(std::span<const Lifetime> values);

}  // namespace intaglio::compiler
