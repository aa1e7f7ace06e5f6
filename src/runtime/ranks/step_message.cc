#include "runtime/ranks/step_message.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <type_traits>
#include <utility>

#include "base/fail.h"
#include "kernels/kv_layout.h"
#include "kernels/params.h"

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

constexpr std::string_view kDoVersionsDiffer = " are possible; do all ranks run one version of intaglio?";

int32_t Most(std::span<const bundle::Plan> plans, int32_t bundle::Plan::* count) {
  int32_t most = 0;
  for (const bundle::Plan& plan : plans) most = std::max(most, plan.*count);
  return most;
}

}  // namespace

class ReceivedStep::Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  void Take(void* out, size_t size) {
    Require(size <= bytes_.size(), ErrorCode::kDataLoss, "a step from rank 0 is truncated");
    if (size > 0) std::memcpy(out, bytes_.data(), size);
    bytes_ = bytes_.subspan(size);
  }
  int32_t TakeInt(int32_t least, int64_t most) {
    int32_t value = 0;
    Take(&value, sizeof value);
    Require(value >= least && value <= most, ErrorCode::kDataLoss, "a step from rank 0 has ", value, " where ", least, " to ", most,
            kDoVersionsDiffer);
    return value;
  }
  // `what` the numbers are, of [least, most].
  void TakeInts(std::span<int32_t> out, std::string_view what, int64_t least, int64_t most) {
    Take(out.data(), out.size_bytes());
    for (int32_t value : out) {
      Require(value >= least && value <= most, ErrorCode::kDataLoss, "a step from rank 0 has ", what, ' ', value, " where ", least, " to ", most,
              kDoVersionsDiffer);
    }
  }
  [[nodiscard]] size_t bytes_left() const { return bytes_.size(); }

 private:
  std::span<const std::byte> bytes_;
};

void EncodeStep(const StepView& view, size_t num_groups, std::vector<std::byte>& out) {
  PutInts(&view.num_rows, 1, out);
  PutInts(&view.num_outputs, 1, out);
  for (const int32_t* rows : {view.tokens, view.positions, view.slots, view.lengths, view.rope_rows}) PutInts(rows, view.num_rows, out);
  PutInts(view.output_rows, view.num_outputs, out);
  for (int32_t i = 0; i < view.num_outputs; ++i) {
    SamplingRow row = view.sampling[i];
    if (!NeedsHistory(row)) row.history_size = row.prompt_size = 0;
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
    : manifest_(bundle.manifest),
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
    table.assign(static_cast<size_t>(manifest_.max_slots) * static_cast<size_t>(blocks_per_slot_), -1);
    table_pointers_.push_back(table.data());
    max_blocks_.push_back(blocks_per_slot_);
  }
}

StepView ReceivedStep::Decode(std::span<const std::byte> bytes, const bundle::Plan& plan) {
  Reader in(bytes);
  StepView view{.num_rows = in.TakeInt(1, plan.rows), .num_outputs = in.TakeInt(0, plan.outputs)};
  const auto rows = [&](std::vector<int32_t>& of) { return std::span(of).first(static_cast<size_t>(view.num_rows)); };
  in.TakeInts(rows(tokens_), "token", 0, manifest_.vocab_size - 1);
  in.TakeInts(rows(positions_), "position", 0, manifest_.max_context - 1);
  in.TakeInts(rows(slots_), "slot", 0, manifest_.max_slots - 1);
  in.TakeInts(rows(lengths_), "length", 1, manifest_.max_context);
  for (size_t i = 0; i < rows(slots_).size(); ++i) {
    const bool is_of_the_slot = BeginsSlot(slots_.data(), static_cast<int32_t>(i)) || lengths_[i] == lengths_[i - 1];
    Require(is_of_the_slot && positions_[i] < lengths_[i], ErrorCode::kDataLoss, "a step from rank 0 has position ", positions_[i], " of a slot of ",
            lengths_[i], " tokens");
  }
  in.TakeInts(rows(rope_rows_), "rotation", 0, manifest_.rope_switch + manifest_.max_context - (manifest_.rope_follows_length ? 0 : 1));
  in.TakeInts(std::span(output_rows_).first(static_cast<size_t>(view.num_outputs)), "output row", 0, view.num_rows - 1);
  for (size_t i = 0; i < static_cast<size_t>(view.num_outputs); ++i) {
    SamplingRow& row = sampling_[i];
    in.Take(&row, sizeof row);
    Require(row.history_size >= 0 && std::cmp_less_equal(row.history_size, histories_[i].size()) && row.prompt_size >= 0 &&
                row.prompt_size <= row.history_size && row.num_logprobs >= 0 && row.num_logprobs <= kernels::sample_params::kMaxLogprobs,
            ErrorCode::kDataLoss, "a step from rank 0 has a history of ", row.history_size, " tokens, ", row.prompt_size, " of a prompt, and wants ",
            row.num_logprobs, " log-probabilities: not all of these", kDoVersionsDiffer);
    row.history = histories_[i].data();
    in.TakeInts(std::span(histories_[i]).first(static_cast<size_t>(row.history_size)), "token", 0, manifest_.vocab_size - 1);
  }
  DecodeTables(in, view.num_rows);
  Require(in.bytes_left() == 0, ErrorCode::kDataLoss, "a step from rank 0 has ", in.bytes_left(), " bytes too many");
  view.tokens = tokens_.data(), view.positions = positions_.data(), view.slots = slots_.data(), view.lengths = lengths_.data();
  view.rope_rows = rope_rows_.data(), view.output_rows = output_rows_.data(), view.sampling = sampling_.data();
  view.block_tables = table_pointers_.data(), view.max_blocks = max_blocks_.data();
  return view;
}

void ReceivedStep::DecodeTables(Reader& in, int32_t num_rows) {
  for (size_t group = 0; group < tables_.size(); ++group) {
    const int64_t num_blocks = manifest_.max_slots * manifest_.kv_groups[group].blocks_per_slot;
    for (int32_t row = 0; row < num_rows; ++row) {
      if (!BeginsSlot(slots_.data(), row)) continue;
      const auto i = static_cast<size_t>(row), slot = static_cast<size_t>(slots_[i]), width = static_cast<size_t>(blocks_per_slot_);
      in.TakeInts(std::span(tables_[group]).subspan(slot * width, static_cast<size_t>(BlocksOf(lengths_[i]))), "block", -1, num_blocks - 1);
    }
  }
}

}  // namespace intaglio::runtime
