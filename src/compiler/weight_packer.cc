#include "compiler/weight_packer.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>

#include "base/fail.h"
#include "compiler/quantize.h"
#include "compiler/source_reader.h"
#include "kernels/kernel.h"
#include "kernels/pack.h"
#include "kernels/quant_format.h"

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

// How rows of the checkpoint become a block.
enum class Path : uint8_t { kConvert, kBf16, kAsStored, kQuantize };
Path PathOf(const graph::Weight& weight, const checkpoint::Checkpoint& checkpoint) {
  if (weight.dtype == DType::kBF16 && SourceReader::IsBf16(weight, checkpoint)) return Path::kBf16;
  if (!IsQuantized(weight.dtype)) return Path::kConvert;
  return SourceReader::QuantizedAs(weight, checkpoint) == weight.dtype ? Path::kAsStored : Path::kQuantize;
}

void QuantizeRows(const graph::Weight& weight, std::span<const float> rows, int64_t num_rows, QuantizedRows& out) {
  Require(Quantize(weight.dtype, rows, num_rows, out), ErrorCode::kDataLoss, "export: ", weight.name,
          " has a number that is infinite, not a number, or beyond the range of ", weight.dtype, "; --keep ", weight.name, "=f32 keeps it as it is");
}

class MatMulPacker {
 public:
  MatMulPacker(const PlacedWeight& placed, const PackContext& context, OutputFile& file)
      : placed_(placed),
        context_(context),
        file_(file),
        block_bytes_(kernels::PackedBlockBytes(placed.cols, placed.weight.dtype)),
        blocks_per_matrix_((placed.matrix_rows + kernels::kLanes - 1) / kernels::kLanes),
        num_blocks_(placed.matrices * blocks_per_matrix_),
        path_(PathOf(placed.weight, context.checkpoint)) {
    const auto is_transposed = [](const graph::WeightSource& source) { return source.view == graph::SourceView::kColumns; };
    // A transposed matrix has to be read whole: then a task is a matrix.
    blocks_per_task_ =
        std::ranges::any_of(placed.weight.sources, is_transposed) ? blocks_per_matrix_ : std::max<int64_t>(1, kTaskBytes / block_bytes_);
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
    SourceReader reader(placed_.weight, context_.checkpoint);
    Buffers buffers;
    for (int64_t block = first_block; block < last_block; ++block) {
      const auto out = std::span(packed).subspan(static_cast<size_t>((block - first_block) * block_bytes_), static_cast<size_t>(block_bytes_));
      const int64_t row = block % blocks_per_matrix_ * kernels::kLanes, count = std::min<int64_t>(kernels::kLanes, placed_.matrix_rows - row);
      PackBlock(reader, {.begin = block / blocks_per_matrix_ * placed_.matrix_rows + row, .count = count}, buffers, out);
    }
    file_.WriteAt(placed_.offset + static_cast<uint64_t>(first_block * block_bytes_), packed);
  }

  struct Buffers {
    std::vector<float> rows;
    std::vector<uint16_t> bf16_rows;
    QuantizedRows quantized;
  };
  struct Rows {
    int64_t begin, count;
  };

  void PackBlock(SourceReader& reader, const Rows& rows, Buffers& buffers, std::span<std::byte> out) const {
    const DType dtype = placed_.weight.dtype;
    const auto elements = static_cast<size_t>(rows.count * placed_.cols);
    switch (path_) {
      case Path::kAsStored:
        reader.ReadQuantized(rows.begin, rows.count, buffers.quantized);
        return kernels::PackQuantizedBlock(dtype, buffers.quantized, out);
      case Path::kBf16:
        buffers.bf16_rows.resize(elements);
        reader.ReadBf16(rows.begin, rows.count, buffers.bf16_rows);
        return kernels::PackBlockBf16(buffers.bf16_rows.data(), rows.count, placed_.cols, out);
      case Path::kQuantize:
        buffers.rows.resize(elements);
        reader.Read(rows.begin, rows.count, buffers.rows);
        QuantizeRows(placed_.weight, buffers.rows, rows.count, buffers.quantized);
        return kernels::PackQuantizedBlock(dtype, buffers.quantized, out);
      case Path::kConvert:
        buffers.rows.resize(elements);
        reader.Read(rows.begin, rows.count, buffers.rows);
        return kernels::PackBlock(buffers.rows.data(), rows.count, placed_.cols, dtype, out);
    }
  }

  const PlacedWeight& placed_;
  const PackContext& context_;
  OutputFile& file_;
  const int64_t block_bytes_, blocks_per_matrix_, num_blocks_;
  const Path path_;
  int64_t blocks_per_task_ = 1;
};

// Vectors (stacked end to end) and computed tables: plain f32.
void WritePlain(const PlacedWeight& placed, const checkpoint::Checkpoint& checkpoint, OutputFile& file) {
  if (placed.weight.constant != nullptr) {
    file.WriteAt(placed.offset, std::as_bytes(std::span(*placed.weight.constant)));
    return;
  }
  std::vector<float> values(static_cast<size_t>(placed.rows * placed.cols));
  int64_t rows = 0;   // of the sources' views, which may be narrower than the weight's
  for (const graph::WeightSource& source : placed.weight.sources) rows += source.rows();
  SourceReader(placed.weight, checkpoint).Read(0, rows, values);
  file.WriteAt(placed.offset, std::as_bytes(std::span(values)));
}

}  // namespace

void CheckSources(const graph::Graph& graph, const checkpoint::Checkpoint& checkpoint) {
  for (const graph::Weight& weight : graph.weights) {
    for (const graph::WeightSource& source : weight.sources) {
      const Shape found = checkpoint.shape(source.name);
      Require(found == source.shape, ErrorCode::kDataLoss, "export: ", source.name, " is ", found, " in the checkpoint, but config.json implies ",
              source.shape, "; is config.json from another revision?");
      if (source.scales.empty()) continue;
      const Shape scales = checkpoint.shape(source.scales), expected(source.shape.begin(), source.shape.end() - 1);
      Require(scales == expected, ErrorCode::kDataLoss, "export: ", source.scales, " is ", scales,
              " in the checkpoint, but the blocks it belongs to need ", expected);
    }
  }
}

void RoundAsStored(const graph::Weight& weight, const checkpoint::Checkpoint& checkpoint, std::span<float> elements) {
  const Path path = PathOf(weight, checkpoint);
  if (path == Path::kConvert && weight.dtype == DType::kBF16) {
    for (float& x : elements) x = Bf16ToF32(F32ToBf16(x));
  }
  if (path != Path::kQuantize) return;
  const auto k = static_cast<size_t>(weight.shape.back());
  QuantizedRows quantized;
  std::vector<std::byte> block(static_cast<size_t>(kernels::PackedBlockBytes(weight.shape.back(), weight.dtype)));
  for (size_t begin = 0; begin < elements.size(); begin += k) {
    const std::span<float> row = elements.subspan(begin, k);
    QuantizeRows(weight, row, 1, quantized);
    kernels::PackQuantizedBlock(weight.dtype, quantized, block);
    for (size_t i = 0; i < k; ++i) row[i] = kernels::UnpackQuantized(weight.dtype, block.data(), 0, static_cast<int64_t>(i));
  }
}

void PackWeights(const WeightLayout& layout, const PackContext& context, OutputFile& file) {
  const std::byte last{0};
  file.WriteAt(layout.file_bytes - 1, {&last, 1});  // as long as the layout says, whatever the last weight's padding
  for (const PlacedWeight& placed : layout.weights) {
    if (placed.weight.layout == graph::Layout::kMatmul || placed.weight.layout == graph::Layout::kExperts) {
      MatMulPacker(placed, context, file).Run(placed.offset);
    } else {
      WritePlain(placed, context.checkpoint, file);
      context.on_progress(placed.offset + placed.bytes);
    }
  }
}

}  // namespace intaglio::compiler
