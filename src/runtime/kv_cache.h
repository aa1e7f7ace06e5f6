// Who owns which block of the KV cache: slots, block tables and free blocks. A state machine over numbers; the memory itself belongs to
// the device. Layers of one reach form a group and share a table: a full group keeps every block of a slot, a sliding-window group only
// those that some token to come can still see. Which physical block a slot gets never matters to a result.
// Used by one thread at a time. Nothing but the constructor allocates.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "bundle/manifest.h"

namespace intaglio::runtime {

// Lengths that a slot's recurrent state is kept for, its own included: after a step of speculation it can go on from any of them. 0: the
// model has no such state.
[[nodiscard]] int32_t StateEntries(const bundle::Manifest& manifest) noexcept;

class KvCacheManager {
 public:
  // `max_step_rows`: the most tokens one Append may add. `state_entries`: see StateEntries. Throws Error kDataLoss when a group's
  // blocks_per_slot cannot hold a full slot during such a step.
  KvCacheManager(int32_t max_slots, int64_t max_context, int32_t max_step_rows, std::span<const bundle::KvGroup> groups, int32_t state_entries = 0);

  // The lowest free slot, empty; nullopt when all are taken.
  [[nodiscard]] std::optional<int32_t> Acquire();
  void Release(int32_t slot);
  [[nodiscard]] bool is_acquired(int32_t slot) const noexcept;
  [[nodiscard]] int32_t length(int32_t slot) const noexcept { return slots_[static_cast<size_t>(slot)].length; }

  // Makes room for `count` more tokens: gives back blocks that none of them can see, then takes the blocks they go to.
  // REQUIRES: 1 <= count <= max_step_rows, length + count <= max_context
  void Append(int32_t slot, int32_t count);
  // Forgets the tokens from `length` on. REQUIRES: length <= length(slot), and 0 or at least shortest_truncation(slot)
  void Truncate(int32_t slot, int32_t length);
  // The smallest length but 0 to which a slot can go back: below it a sliding window would reach into blocks that were given back, or a
  // recurrent state would be one that is neither kept nor within the last step.
  [[nodiscard]] int32_t shortest_truncation(int32_t slot) const noexcept;
  // Whether the slot was truncated to a length that its recurrent state is not kept for: its tokens are to be computed again before it goes on.
  [[nodiscard]] bool has_lost_state(int32_t slot) const noexcept;

  // Per group, the tables of StepView: [slot][max_blocks], -1 where there is no block.
  [[nodiscard]] const int32_t* const* block_tables() const noexcept { return tables_.data(); }
  [[nodiscard]] const int32_t* max_blocks() const noexcept { return max_blocks_.data(); }
  [[nodiscard]] int64_t num_free_blocks(int32_t group) const noexcept { return std::ssize(groups_[static_cast<size_t>(group)].free); }

 private:
  struct Slot {
    bool is_acquired = false;
    int32_t length = 0;
    int32_t step_begin = 0;    // length before the last Append
    int32_t first_state = 0;   // the recurrent state is kept for the lengths from here on, and for 0
  };
  struct Group {
    int64_t window = 0;                // 0: full attention
    std::vector<int32_t> free;         // physical blocks, last in first out
    std::vector<int32_t> table;        // [max_slots][blocks of max_context]
    std::vector<int32_t> first_block;  // per slot: blocks below were given back
  };
  [[nodiscard]] int32_t* Table(Group& group, int32_t slot) noexcept;
  void ReleaseBlocks(Group& group, int32_t slot, int32_t begin, int32_t end) noexcept;

  int32_t blocks_per_context_, state_entries_;
  std::vector<Slot> slots_;
  std::vector<Group> groups_;
  std::vector<const int32_t*> tables_;
  std::vector<int32_t> max_blocks_;
};

}  // namespace intaglio::runtime
