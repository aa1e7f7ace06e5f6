// Sequences with random queries, keys and values, a KV pool, and steps over them: what kv and attention tests share.
#pragma once
#include <cmath>
#include <limits>

#include "harness.h"
#include "kernels/kv_layout.h"
#include "kernels/params.h"
#include "kernels/workspace.h"

namespace intaglio::kernels {

struct Heads {
  int64_t heads, kv_heads, head_dim, window;
  int64_t v_dim = 0;        // 0: head_dim
  int64_t chunk = 0;
  float softcap = 0;
  bool has_sinks = false;
  bool both_ways = false;   // a sequence is then one step
  DType kv_dtype = DType::kF32;
  [[nodiscard]] int64_t value_dim() const { return v_dim == 0 ? head_dim : v_dim; }
  [[nodiscard]] KvShape kv_shape() const { return {head_dim, value_dim(), kv_dtype}; }
  // First position that a query sees.
  [[nodiscard]] int64_t FirstVisible(int64_t position) const {
    if (chunk != 0) return position / chunk * chunk;
    return window == 0 ? 0 : std::max<int64_t>(0, position - window + 1);
  }
  // Some above and some below every score.
  [[nodiscard]] float Sink(int64_t head) const { return static_cast<float>(head % 5) * 1.5f - 2.0f; }
};

// One sequence in one slot.
struct Sequence {
  Matrix q, k, v, out;   // [length, heads * head_dim]; out is filled by KvWorld::Step
  Sequence(const Heads& h, int64_t length, std::mt19937& random)
      : q(length, h.heads * h.head_dim, random),
        k(length, h.kv_heads * h.head_dim, random),
        v(length, h.kv_heads * h.value_dim(), random),
        out(length, h.heads * h.value_dim()) {}
};

// A head's elements as a cache of the type holds them: rounded to bf16, or to 127 steps of its largest.
inline std::vector<double> Stored(DType dtype, const float* row, int64_t n) {
  std::vector<double> stored(row, row + n);
  if (dtype == DType::kBF16) std::transform(row, row + n, stored.begin(), [](float x) { return Bf16ToF32(F32ToBf16(x)); });
  if (dtype == DType::kI8) {
    float largest = 0;
    for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::fabs(row[i]));
    std::transform(row, row + n, stored.begin(), [&](float x) { return std::nearbyint(double{x} * (127.0f / largest)) * (largest / 127.0f); });
  }
  return stored;
}

struct StepRow {
  int32_t slot, position;
};

// What a test is called that runs with these heads.
inline std::string NameOf(const Heads& h) {
  return "heads" + std::to_string(h.heads) + "on" + std::to_string(h.kv_heads) + "dim" + std::to_string(h.head_dim) +
         (h.v_dim == 0 ? "" : "v" + std::to_string(h.v_dim)) + "window" + std::to_string(h.window) +
         (h.chunk == 0 ? "" : "chunk" + std::to_string(h.chunk)) + (h.softcap == 0 ? "" : "softcap") + (h.has_sinks ? "sinks" : "") +
         (h.kv_dtype == DType::kF32 ? "" : std::string(Name(h.kv_dtype)));
}

// The same heads over another cache.
inline Heads WithCache(Heads heads, DType dtype) {
  heads.kv_dtype = dtype;
  return heads;
}

// A pool of blocks, block tables and the two kernels that use them.
class KvWorld {
 public:
  static constexpr int32_t kMaxBlocks = 24;

  // The pool starts full of NaN. Physical blocks are handed out in an order drawn from `order_seed`.
  KvWorld(const Heads& heads, int num_slots, uint32_t order_seed)
      : heads_(heads),
        num_blocks_(num_slots * kMaxBlocks),
        pool_(num_blocks_, BlockFloats(heads), BlockFloats(heads)),
        sinks_(1, heads.heads),
        table_(static_cast<size_t>(num_slots * kMaxBlocks), -1),
        free_(static_cast<size_t>(num_blocks_)) {
    std::iota(free_.begin(), free_.end(), 0);
    std::mt19937 random(order_seed);
    std::shuffle(free_.begin(), free_.end(), random);
    std::fill_n(pool_.row(0), pool_.rows() * pool_.cols(), std::numeric_limits<float>::quiet_NaN());
    for (int64_t head = 0; head < heads.heads; ++head) sinks_.row(0)[head] = heads.Sink(head);
  }

  [[nodiscard]] const Matrix& pool() const { return pool_; }
  // As an operand of the cache's type.
  [[nodiscard]] Tensor cache() const {
    const int64_t elements = KvBlockBytes(heads_.kv_heads, heads_.kv_shape()) / KvElementBytes(heads_.kv_dtype);
    return {pool_.tensor().data, pool_.rows(), elements, elements, heads_.kv_dtype};
  }
  [[nodiscard]] int32_t block(int32_t slot, int32_t tile) const { return table_[static_cast<size_t>(slot * kMaxBlocks + tile)]; }
  [[nodiscard]] const StepView& view() const { return view_; }

  // Gives the slot's blocks back, still holding what its owner wrote.
  void Release(int32_t slot) {
    for (int32_t tile = 0; tile < kMaxBlocks; ++tile) Drop(slot, tile);
  }

  // Writes the rows' keys and values and attends; sequences[slot].out receives the results.
  void Step(Isa isa, const std::vector<StepRow>& rows, std::vector<Sequence>& sequences, bool has_workspace, uint32_t order_seed) {
    const auto num_rows = static_cast<int64_t>(rows.size());
    Prepare(rows);
    const Matrix q(num_rows, heads_.heads * heads_.head_dim), out(num_rows, heads_.heads * heads_.value_dim());
    const Matrix k(num_rows, heads_.kv_heads * heads_.head_dim), v(num_rows, heads_.kv_heads * heads_.value_dim());
    for (int64_t i = 0; i < num_rows; ++i) {
      const StepRow row = rows[static_cast<size_t>(i)];
      const Sequence& s = sequences[static_cast<size_t>(row.slot)];
      std::copy_n(s.q.row(row.position), q.cols(), q.row(i));
      std::copy_n(s.k.row(row.position), k.cols(), k.row(i));
      std::copy_n(s.v.row(row.position), v.cols(), v.row(i));
    }
    RunKernel("kv_write", isa, WriteCall(k, v), view_, order_seed);
    const int64_t bytes = AttentionWorkspaceBytes(num_rows, heads_.heads, heads_.kv_heads, heads_.value_dim(), kMaxBlocks * kKvTile);
    const Matrix workspace(1, std::max<int64_t>(bytes / 4, kLanes));
    KernelCall attention = AttendCall(out, q);
    if (has_workspace && bytes > 0) attention.operands[3] = workspace.tensor();
    RunKernel("attention", isa, attention, view_, order_seed);
    EXPECT_TRUE(out.HasIntactPadding());
    for (int64_t i = 0; i < num_rows; ++i) {
      const StepRow row = rows[static_cast<size_t>(i)];
      std::copy_n(out.row(i), out.cols(), sequences[static_cast<size_t>(row.slot)].out.row(row.position));
    }
  }

  [[nodiscard]] KernelCall WriteCall(const Matrix& k, const Matrix& v) const { return WithParams(Call({cache(), k.tensor(), v.tensor()})); }
  [[nodiscard]] KernelCall AttendCall(const Matrix& out, const Matrix& q) const {
    return WithParams(Call({out.tensor(), q.tensor(), cache(), Tensor{}, heads_.has_sinks ? sinks_.tensor() : Tensor{}}));
  }

  // Makes view() a step of these rows: blocks are assigned where needed, and dropped where the window has left them behind.
  void Prepare(const std::vector<StepRow>& rows) {
    slots_.clear();
    positions_.clear();
    for (const StepRow& row : rows) {
      slots_.push_back(row.slot);
      positions_.push_back(row.position);
      int32_t& entry = table_[static_cast<size_t>(row.slot * kMaxBlocks + row.position / kKvTile)];
      if (entry >= 0) continue;
      entry = free_.back();
      free_.pop_back();
    }
    for (size_t i = 0; i < rows.size(); ++i) {
      if (i > 0 && rows[i].slot == rows[i - 1].slot) continue;
      for (int32_t tile = 0; (tile + 1) * kKvTile <= heads_.FirstVisible(rows[i].position); ++tile) Drop(rows[i].slot, tile);
    }
    table_pointer_ = table_.data();
    lengths_.assign(rows.size(), 0);
    for (size_t i = rows.size(); i-- > 0;) {
      const bool is_last = i + 1 == rows.size() || rows[i + 1].slot != rows[i].slot;
      lengths_[i] = is_last ? rows[i].position + 1 : lengths_[i + 1];
    }
    view_ = {.num_rows = static_cast<int32_t>(rows.size()),
             .positions = positions_.data(),
             .slots = slots_.data(),
             .lengths = lengths_.data(),
             .block_tables = &table_pointer_,
             .max_blocks = &max_blocks_};
  }

 private:
  void Drop(int32_t slot, int32_t tile) {
    int32_t& entry = table_[static_cast<size_t>(slot * kMaxBlocks + tile)];
    if (entry >= 0) free_.push_back(entry);
    entry = -1;
  }
  [[nodiscard]] static int64_t BlockFloats(const Heads& h) { return KvBlockBytes(h.kv_heads, h.kv_shape()) / 4; }
  [[nodiscard]] KernelCall WithParams(KernelCall call) const {
    using namespace attention_params;
    call.params.ints[kHeads] = heads_.heads;
    call.params.ints[kKvHeads] = heads_.kv_heads;
    call.params.ints[kHeadDim] = heads_.head_dim;
    call.params.ints[kWindow] = heads_.window;
    call.params.ints[kNumBlocks] = num_blocks_;
    call.params.ints[kVDim] = heads_.v_dim;
    call.params.ints[kChunk] = heads_.chunk;
    call.params.ints[kBothWays] = heads_.both_ways ? 1 : 0;
    call.params.floats[kSoftcap] = heads_.softcap;
    call.params.floats[kScale] = 1.0f / std::sqrt(static_cast<float>(heads_.head_dim));
    return call;
  }

  Heads heads_;
  int64_t num_blocks_;
  Matrix pool_, sinks_;
  std::vector<int32_t> table_, free_, slots_, positions_, lengths_;
  const int32_t* table_pointer_ = nullptr;
  int32_t max_blocks_ = kMaxBlocks;
  StepView view_;
};

}  // namespace intaglio::kernels
