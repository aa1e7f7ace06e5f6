#include "runtime/kv_cache.h"

#include <algorithm>

#include "base/assert.h"
#include "base/fail.h"
#include "kernels/kernel.h"

namespace intaglio::runtime {
namespace {

using kernels::kKvTile;

int32_t BlocksFor(int64_t tokens) { return static_cast<int32_t>((tokens + kKvTile - 1) / kKvTile); }

// The first block that a query at `position` or later can see.
int32_t FirstVisibleBlock(int64_t window, int64_t position) {
  return window == 0 ? 0 : static_cast<int32_t>(std::max<int64_t>(0, position - window + 1) / kKvTile);
}

// Blocks that a slot may hold at once: the window of a step's first token and the step's own tokens, at the worst alignment.
int64_t BlocksNeeded(int64_t window, int64_t max_context, int64_t max_step_rows) {
  if (window == 0 || window >= max_context) return BlocksFor(max_context);
  return std::min<int64_t>(BlocksFor(max_context), BlocksFor(window - 1 + max_step_rows - 1) + 1);
}

}  // namespace

int32_t StateEntries(const bundle::Manifest& manifest) noexcept { return manifest.states.empty() ? 0 : manifest.speculation + 2; }

KvCacheManager::KvCacheManager(int32_t max_slots, int64_t max_context, int32_t max_step_rows, std::span<const bundle::KvGroup> groups,
                               int32_t state_entries)
    : blocks_per_context_(BlocksFor(max_context)), state_entries_(state_entries), slots_(static_cast<size_t>(max_slots)), groups_(groups.size()) {
  for (size_t i = 0; i < groups.size(); ++i) {
    const int64_t per_slot = groups[i].blocks_per_slot, needed = BlocksNeeded(groups[i].window, max_context, max_step_rows);
    Require(per_slot >= needed, ErrorCode::kDataLoss, "KV group ", i, " of the bundle has ", per_slot, " blocks a slot, but a window of ",
            groups[i].window, " in a context of ", max_context, " needs ", needed, ": export it again");
    Group& group = groups_[i];
    group.window = groups[i].window;
    group.table.assign(slots_.size() * static_cast<size_t>(blocks_per_context_), -1);
    group.first_block.assign(slots_.size(), 0);
    group.free.resize(slots_.size() * static_cast<size_t>(std::min<int64_t>(per_slot, blocks_per_context_)));
    for (size_t block = 0; block < group.free.size(); ++block) group.free[block] = static_cast<int32_t>(group.free.size() - 1 - block);
    tables_.push_back(group.table.data());
    max_blocks_.push_back(blocks_per_context_);
  }
}

bool KvCacheManager::is_acquired(int32_t slot) const noexcept {
  return slot >= 0 && slot < std::ssize(slots_) && slots_[static_cast<size_t>(slot)].is_acquired;
}

std::optional<int32_t> KvCacheManager::Acquire() {
  const auto slot = std::find_if(slots_.begin(), slots_.end(), [](const Slot& s) { return !s.is_acquired; });
  if (slot == slots_.end()) return std::nullopt;
  *slot = {.is_acquired = true};
  return static_cast<int32_t>(slot - slots_.begin());
}

void KvCacheManager::Release(int32_t slot) {
  Truncate(slot, 0);
  slots_[static_cast<size_t>(slot)].is_acquired = false;
}

void KvCacheManager::Append(int32_t slot, int32_t count) {
  Assert(is_acquired(slot) && count > 0);
  const int32_t begin = length(slot), end = begin + count;
  Assert(BlocksFor(end) <= blocks_per_context_);
  for (Group& group : groups_) {
    int32_t& first = group.first_block[static_cast<size_t>(slot)];
    const int32_t first_visible = FirstVisibleBlock(group.window, begin);
    if (first_visible > first) {
      ReleaseBlocks(group, slot, first, first_visible);
      first = first_visible;
    }
    int32_t* table = Table(group, slot);
    for (int32_t block = BlocksFor(begin); block < BlocksFor(end); ++block) {
      Assert(!group.free.empty());
      table[block] = group.free.back();
      group.free.pop_back();
    }
  }
  Slot& s = slots_[static_cast<size_t>(slot)];
  s.step_begin = begin, s.length = end;
  if (state_entries_ > 0) s.first_state = std::max(s.first_state, end - state_entries_ + 1);
}

void KvCacheManager::Truncate(int32_t slot, int32_t length) {
  Assert(is_acquired(slot) && length >= 0 && length <= this->length(slot));
  Assert(length == 0 || length >= shortest_truncation(slot));
  for (Group& group : groups_) {
    ReleaseBlocks(group, slot, BlocksFor(length), BlocksFor(this->length(slot)));
    if (length == 0) group.first_block[static_cast<size_t>(slot)] = 0;
  }
  Slot& s = slots_[static_cast<size_t>(slot)];
  s.length = length;
  if (length == 0) s.step_begin = s.first_state = 0;
}

int32_t KvCacheManager::shortest_truncation(int32_t slot) const noexcept {
  int64_t shortest = 1;
  for (const Group& group : groups_) {
    const int64_t first = group.first_block[static_cast<size_t>(slot)];
    if (first > 0) shortest = std::max(shortest, first * kKvTile + group.window - 1);  // a query there sees [first * kKvTile, …
  }
  const Slot& s = slots_[static_cast<size_t>(slot)];
  if (state_entries_ > 0) shortest = std::max<int64_t>(shortest, std::min(s.step_begin, s.first_state));
  return static_cast<int32_t>(std::min<int64_t>(shortest, length(slot)));
}

bool KvCacheManager::has_lost_state(int32_t slot) const noexcept {
  const Slot& s = slots_[static_cast<size_t>(slot)];
  return s.length > 0 && s.length < s.first_state;
}

int32_t* KvCacheManager::Table(Group& group, int32_t slot) noexcept {
  return group.table.data() + static_cast<size_t>(slot) * static_cast<size_t>(blocks_per_context_);
}

void KvCacheManager::ReleaseBlocks(Group& group, int32_t slot, int32_t begin, int32_t end) noexcept {
  int32_t* table = Table(group, slot);
  for (int32_t block = begin; block < end; ++block) {
    if (table[block] < 0) continue;
    group.free.push_back(table[block]);  // within the capacity of the constructor: every block was once in `free`
    table[block] = -1;
  }
}

}  // namespace intaglio::runtime
