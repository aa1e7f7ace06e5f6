#include "runtime/step_message.h"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include "base/fail.h"
#include "kernels/kv_layout.h"

namespace intaglio::runtime {
namespace {

using kernels::SamplingRow;
using kernels::StepView;

static_assert(std::is_trivially_copyable_v<SamplingRow>);

void Put(const void* data, size_t bytes, std::vector<std::byte>& out) {
  const auto* from = static_cast<const std::byte*>(data);
  out.insert(out.end(), from, from + bytes);
}

void PutInts(const int32_t* data, int32_t count, std::vector<std::byte>& out) { Put(data, static_cast<size_t>(count) * sizeof *data, out); }

bool NeedsHistory(const SamplingRow& row) { return row.repetition_penalty != 1.0f || row.presence_penalty != 0.0f || row.frequency_penalty != 0.0f; }

// The rows of a slot are neighbours: true for the first of them.
bool BeginsSlot(const int32_t* slots, int32_t row) { return row == 0 || slots[row] != slots[row - 1]; }

int32_t BlocksOf(int32_t length) { return (length + kernels::kKvTile - 1) / kernels::kKvTile; }

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  void Take(void* out, size_t size) {
    Require(size <= bytes_.size(), ErrorCode::kDataLoss, "a step from rank 0 is truncated; do all ranks run one version of intaglio?");
    if (size > 0) std::memcpy(out, bytes_.data(), size);
    bytes_ = bytes_.subspan(size);
  }
  int32_t TakeInt(int32_t least, int64_t most) {
    int32_t value = 0;
    Take(&value, sizeof value);
    Require(value >= least && value <= most, ErrorCode::kDataLoss, "a step from rank 0 has ", value, " where ", least, " to ", most,
            " are possible; do all ranks run one version of intaglio?");
    return value;
  }
  void TakeInts(int32_t count, int32_t* out) { Take(out, static_cast<size_t>(count) * sizeof *out); }

 private:
  std::span<const std::byte> bytes_;
};

int32_t Most(std::span<const bundle::Plan> plans, int32_t bundle::Plan::* count) {
  int32_t most = 0;
  for (const bundle::Plan& plan : plans) most = std::max(most, plan.*count);
  return most;
}

}  // namespace

void EncodeStep(const StepView& view, size_t num_groups, std::vector<std::byte>& out) {
  PutInts(&view.num_rows, 1, out);
  PutInts(&view.num_outputs, 1, out);
  for (const int32_t* rows : {view.tokens, view.positions, view.slots, view.lengths, view.rope_rows}) PutInts(rows, view.num_rows, out);
  PutInts(view.output_rows, view.num_outputs, out);
  for (int32_t i = 0; i < view.num_outputs; ++i) {
    SamplingRow row = view.sampling[i];
    if (!NeedsHistory(row)) row.history_size = 0;
    const int32_t* history = row.history;
    row.history = nullptr;
    Put(&row, sizeof row, out);
    PutInts(history, row.history_size, out);
  }
  for (size_t group = 0; group < num_groups; ++group) {
    for (int32_t row = 0; row < view.num_rows; ++row) {
      if (!BeginsSlot(view.slots, row)) continue;
      PutInts(view.block_tables[group] + int64_t{view.slots[row]} * view.max_blocks[group], BlocksOf(view.lengths[row]), out);
    }
  }
}

ReceivedStep::ReceivedStep(const bundle::Bundle& bundle)
    : max_slots_(bundle.manifest.max_slots),
      blocks_per_slot_(BlocksOf(static_cast<int32_t>(bundle.manifest.max_context))),
      tokens_(static_cast<size_t>(Most(bundle.plans, &bundle::Plan::rows))),
      positions_(tokens_.size()),
      slots_(tokens_.size()),
      lengths_(tokens_.size()),
      rope_rows_(tokens_.size()),
      output_rows_(static_cast<size_t>(Most(bundle.plans, &bundle::Plan::outputs))),
      sampling_(output_rows_.size()),
      histories_(output_rows_.size()),
      tables_(bundle.manifest.kv_groups.size()) {
  for (std::vector<int32_t>& history : histories_) history.resize(static_cast<size_t>(bundle.manifest.max_context));
  for (std::vector<int32_t>& table : tables_) {
    table.assign(static_cast<size_t>(max_slots_) * static_cast<size_t>(blocks_per_slot_), -1);
    table_pointers_.push_back(table.data());
    max_blocks_.push_back(blocks_per_slot_);
  }
}

StepView ReceivedStep::Decode(std::span<const std::byte> bytes, const bundle::Plan& plan) {
  Reader in(bytes);
  StepView view{.num_rows = in.TakeInt(1, plan.rows), .num_outputs = in.TakeInt(0, plan.outputs)};
  for (std::vector<int32_t>* rows : {&tokens_, &positions_, &slots_, &lengths_, &rope_rows_}) in.TakeInts(view.num_rows, rows->data());
  in.TakeInts(view.num_outputs, output_rows_.data());
  for (int32_t i = 0; i < view.num_outputs; ++i) {
    const auto output = static_cast<size_t>(i);
    SamplingRow& row = sampling_[output];
    in.Take(&row, sizeof row);
    Require(row.history_size >= 0 && std::cmp_less_equal(row.history_size, histories_[output].size()), ErrorCode::kDataLoss,
            "a step from rank 0 has a history of ", row.history_size, " tokens; do all ranks run one version of intaglio?");
    row.history = histories_[output].data();
    in.TakeInts(row.history_size, histories_[output].data());
  }
  for (std::vector<int32_t>& table : tables_) {
    for (int32_t row = 0; row < view.num_rows; ++row) {
      if (!BeginsSlot(slots_.data(), row)) continue;
      const int32_t slot = slots_[static_cast<size_t>(row)], blocks = BlocksOf(lengths_[static_cast<size_t>(row)]);
      Require(slot >= 0 && slot < max_slots_ && blocks >= 0 && blocks <= blocks_per_slot_, ErrorCode::kDataLoss, "a step from rank 0 has ", blocks,
              " blocks for slot ", slot, "; do all ranks run one version of intaglio?");
      in.TakeInts(blocks, table.data() + static_cast<size_t>(slot) * static_cast<size_t>(blocks_per_slot_));
    }
  }
  view.tokens = tokens_.data(), view.positions = positions_.data(), view.slots = slots_.data(), view.lengths = lengths_.data();
  view.rope_rows = rope_rows_.data(), view.output_rows = output_rows_.data(), view.sampling = sampling_.data();
  view.block_tables = table_pointers_.data(), view.max_blocks = max_blocks_.data();
  return view;
}

}  // namespace intaglio::runtime
