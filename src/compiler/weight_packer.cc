#include "compiler/weight_packer.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>

#include "base/assert.h"
#include "base/fail.h"
#include "kernels/kernel.h"
#include "kernels/pack.h"

namespace intaglio::compiler {
namespace {

constexpr int64_t kTaskBytes = 1 << 20;      // packed bytes of one task: one write, and the buffer a thread holds
constexpr int64_t kWaveBytes = 64 << 20;     // packed bytes between two progress reports

// Runs body(task) for every task on all threads; the first exception is thrown again here.
template <typename BodyType>
void ParallelTasks(ThreadPool& pool, int64_t num_tasks, const BodyType& body) {
  struct Context {
    const BodyType& body;
    std::atomic<bool> has_failed = false;
    std::mutex mutex;
    std::exception_ptr failure;
  } context{.body = body, .has_failed = false, .mutex = {}, .failure = nullptr};
  pool.ParallelFor(
      num_tasks,
      [](void* opaque, int64_t task, int) noexcept {
        auto& c = *static_cast<Context*>(opaque);
        if (c.has_failed) return;
        try {
          c.body(task);
        } catch (...) {
          const std::lock_guard lock(c.mutex);
          if (!c.has_failed.exchange(true)) c.failure = std::current_exception();
        }
      },
      &context);
  if (context.failure) std::rethrow_exception(context.failure);
}

// Reads rows of a weight that may lie in several tensors of the checkpoint.
template <typename T, typename ReadFunction>
void ReadStackedRows(const graph::Weight& weight, int64_t begin, int64_t count, int64_t cols, T* out, const ReadFunction& read) {
  int64_t first = 0;
  for (const graph::WeightSource& source : weight.sources) {
    const int64_t rows = source.shape[0], from = std::max(begin, first), to = std::min(begin + count, first + rows);
    if (from < to) read(source.name, from - first, to - from, std::span(out + (from - begin) * cols, static_cast<size_t>((to - from) * cols)));
    first += rows;
  }
}

class MatMulPacker {
 public:
  MatMulPacker(const PlacedWeight& placed, const PackContext& context, OutputFile& file)
      : placed_(placed),
        context_(context),
        file_(file),
        block_bytes_(kernels::PackedBlockBytes(placed.cols, placed.dtype)),
        blocks_per_task_(std::max<int64_t>(1, kTaskBytes / block_bytes_)),
        num_blocks_((placed.rows + kernels::kLanes - 1) / kernels::kLanes) {
    is_bf16_throughout_ =
        placed.dtype == DType::kBF16 && placed.weight.add == 0 &&
        std::ranges::all_of(placed.weight.sources, [&](const graph::WeightSource& s) { return context.checkpoint.is_bf16(s.name); });
  }

  // Reports `done_before` plus what is written of this weight.
  void Run(uint64_t done_before) {
    const int64_t num_tasks = (num_blocks_ + blocks_per_task_ - 1) / blocks_per_task_;
    const int64_t tasks_per_wave = std::max<int64_t>(1, kWaveBytes / (blocks_per_task_ * block_bytes_));
    for (int64_t begin = 0; begin < num_tasks; begin += tasks_per_wave) {
      const int64_t end = std::min(num_tasks, begin + tasks_per_wave);
      ParallelTasks(context_.pool, end - begin, [&](int64_t task) { PackTask(begin + task); });
      context_.on_progress(done_before + placed_.bytes * static_cast<uint64_t>(end) / static_cast<uint64_t>(num_tasks));
    }
  }

 private:
  void PackTask(int64_t task) const {
    const int64_t first_block = task * blocks_per_task_, last_block = std::min(num_blocks_, first_block + blocks_per_task_);
    std::vector<std::byte> packed(static_cast<size_t>((last_block - first_block) * block_bytes_));
    std::vector<float> rows(is_bf16_throughout_ ? 0 : static_cast<size_t>(kernels::kLanes * placed_.cols));
    std::vector<uint16_t> bf16_rows(is_bf16_throughout_ ? static_cast<size_t>(kernels::kLanes * placed_.cols) : 0);
    for (int64_t block = first_block; block < last_block; ++block) {
      const auto out = std::span(packed).subspan(static_cast<size_t>((block - first_block) * block_bytes_), static_cast<size_t>(block_bytes_));
      const int64_t begin = block * kernels::kLanes, count = std::min<int64_t>(kernels::kLanes, placed_.rows - begin);
      if (is_bf16_throughout_) {
        ReadStackedRows(placed_.weight, begin, count, placed_.cols, bf16_rows.data(),
                        [&](auto&&... arguments) { context_.checkpoint.ReadRowsBf16(arguments...); });
        kernels::PackBlockBf16(bf16_rows.data(), count, placed_.cols, out);
      } else {
        ReadStackedRows(placed_.weight, begin, count, placed_.cols, rows.data(),
                        [&](auto&&... arguments) { context_.checkpoint.ReadRows(arguments...); });
        if (placed_.weight.add != 0) std::ranges::for_each(rows, [&](float& x) { x += placed_.weight.add; });
        kernels::PackBlock(rows.data(), count, placed_.cols, placed_.dtype, out);
      }
    }
    file_.WriteAt(placed_.offset + static_cast<uint64_t>(first_block * block_bytes_), packed);
  }

  const PlacedWeight& placed_;
  const PackContext& context_;
  OutputFile& file_;
  const int64_t block_bytes_, blocks_per_task_, num_blocks_;
  bool is_bf16_throughout_ = false;
};

// Vectors (stacked end to end) and computed tables: plain f32.
void WritePlain(const PlacedWeight& placed, const checkpoint::Checkpoint& checkpoint, OutputFile& file) {
  if (placed.weight.constant != nullptr) {
    file.WriteAt(placed.offset, std::as_bytes(std::span(*placed.weight.constant)));
    return;
  }
  std::vector<float> values(static_cast<size_t>(placed.rows * placed.cols));
  size_t done = 0;
  for (const graph::WeightSource& source : placed.weight.sources) {
    const auto count = static_cast<size_t>(source.shape.num_elements());
    checkpoint.ReadRows(source.name, 0, source.shape.size() == 1 ? 1 : source.shape[0], std::span(values).subspan(done, count));
    done += count;
  }
  Assert(done == values.size());
  for (float& value : values) value += placed.weight.add;
  file.WriteAt(placed.offset, std::as_bytes(std::span(values)));
}

}  // namespace

void CheckSources(const WeightLayout& layout, const checkpoint::Checkpoint& checkpoint) {
  for (const PlacedWeight& placed : layout.weights) {
    for (const graph::WeightSource& source : placed.weight.sources) {
      const Shape found = checkpoint.shape(source.name);
      Require(found == source.shape, ErrorCode::kDataLoss, "export: ", source.name, " is ", found, " in the checkpoint, but config.json implies ",
              source.shape, "; is config.json from another revision?");
    }
  }
}

void PackWeights(const WeightLayout& layout, const PackContext& context, OutputFile& file) {
  const std::byte last{0};
  file.WriteAt(layout.file_bytes - 1, {&last, 1});  // as long as the layout says, whatever the last weight's padding
  for (const PlacedWeight& placed : layout.weights) {
    if (placed.weight.layout == graph::Layout::kMatmul) {
      MatMulPacker(placed, context, file).Run(placed.offset);
    } else {
      WritePlain(placed, context.checkpoint, file);
      context.on_progress(placed.offset + placed.bytes);
    }
  }
}

}  // namespace intaglio::compiler
