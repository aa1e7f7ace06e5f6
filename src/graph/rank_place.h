// Which part of a model one of several ranks has, and which experts. Every graph is one rank's own: layers ask for the place and declare
// nothing but that part.
#pragma once
#include <bit>

namespace intaglio::graph {

// Rank r of N owns the canonical segments [8 r / N, 8 (r + 1) / N), rounded down: at 2, 4 and 8 ranks a subtree of the tree that adds them.
// M, the expert-parallel degree, divides N and 8. Rank e N / M + t has the experts of the canonical groups [8 e / M, 8 (e + 1) / M), group g of
// E experts being [E g / 8, E (g + 1) / 8), and of each of them what rank t of N / M owns.
struct RankPlace {
  int rank = 0, tp_degree = 1, ep_degree = 1;
  bool operator==(const RankPlace&) const = default;

  [[nodiscard]] bool is_alone() const { return tp_degree == 1; }
  [[nodiscard]] int first_segment() const { return kMaxRanks * rank / tp_degree; }
  [[nodiscard]] int end_segment() const { return kMaxRanks * (rank + 1) / tp_degree; }
  // Of the tree over this rank's segments: their number, rounded up to a power of two.
  [[nodiscard]] int num_leaves() const { return static_cast<int>(std::bit_ceil(static_cast<unsigned>(end_segment() - first_segment()))); }

  [[nodiscard]] int expert_tp() const { return tp_degree / ep_degree; }       // ranks that share each expert
  [[nodiscard]] int expert_index() const { return rank / expert_tp(); }       // e
  [[nodiscard]] int expert_rank() const { return rank % expert_tp(); }        // t
  [[nodiscard]] int num_expert_groups() const { return kMaxRanks / ep_degree; }
  [[nodiscard]] int first_expert_group() const { return expert_index() * num_expert_groups(); }
  // The place among the ranks that share an expert: its segments and leaves are those of the inside of an expert.
  [[nodiscard]] RankPlace within_expert() const { return {.rank = expert_rank(), .tp_degree = expert_tp(), .ep_degree = 1}; }

  static constexpr int kMaxRanks = 8;   // as many as there are segments
};

}  // namespace intaglio::graph
