// out = residual + (x W^T + bias): the loops around the tiles, the same at every level. In stage 0 the activations of every row tile are
// packed k-major, [k][rows of the tile]; a single row is that already. In stage 1 a task takes a chunk of rows times a group of blocks, and
// walks blocks > segments > row tiles, so that a segment of weights is read from memory once a chunk and from cache by every further tile.
#include <array>
#include <type_traits>
#include <utility>

#include "kernels/isa/matmul_tile.h"
#include "kernels/leaves.h"
#include "kernels/matmul_tasks.h"
#include "kernels/pack.h"
#include "kernels/params.h"

namespace intaglio::kernels::INTAGLIO_ISA {
namespace {

constexpr int64_t kLineBytes = kLanes * sizeof(float);
constexpr int kMaxTileBlocks = 4;

// TileArgs::sums of every row tile of a chunk: what a task of stage 1 keeps in its scratch memory.
constexpr int64_t kSumFloats = kSumLevels * kMatMulChunkRows * kMaxTileBlocks * kLanes;
static_assert(kSumFloats * sizeof(float) <= kScratchBytes);

template <typename Weights, int kBlocks, size_t... kRows>
constexpr auto MakeTiles(std::index_sequence<kRows...>) {
  using Function = void (*)(const TileArgs&) noexcept;
  constexpr auto tile = [](auto rows) -> Function {
    constexpr int kTileRows = static_cast<int>(rows()) + 1;
    if constexpr (kBlocks == 1 || kBlocks <= TileBlocks(kTileRows)) return Tile<Weights, kTileRows, kBlocks>;
    return nullptr;
  };
  return std::array<Function, sizeof...(kRows)>{tile(std::integral_constant<size_t, kRows>())...};
}

// By rows - 1; null where so many accumulators would not fit.
template <typename Weights, int kBlocks>
inline constexpr auto kTiles = MakeTiles<Weights, kBlocks>(std::make_index_sequence<kMaxTileRows>());

// One task of stage 1: a chunk of rows.
struct Task {
  const KernelCall& call;
  IndexRange rows;
  int64_t num_tiles = 0;
  int leaves = kSegments;     // segments that count
  const float* x = nullptr;   // the chunk's activations, tile by tile
  float* sums = nullptr;
};

// A row tile of a task.
struct RowTile {
  int64_t first_row = 0, num_rows = 0;   // within the chunk
  float* sums = nullptr;
};

int64_t NumTiles(IndexRange rows) { return (rows.end - rows.begin + kMaxTileRows - 1) / kMaxTileRows; }

template <int kBlocks>
RowTile FindTile(const Task& task, int64_t index) {
  const IndexRange rows = Part(task.rows.end - task.rows.begin, index, task.num_tiles);
  return {.first_row = rows.begin, .num_rows = rows.end - rows.begin, .sums = task.sums + rows.begin * kSumLevels * kBlocks * kLanes};
}

template <typename Weights, int kBlocks>
void MultiplySegment(const Task& task, const std::byte* blocks, int segment) {
  const int64_t k = task.call[2].cols, block_bytes = PackedBlockBytes(k, Weights::kDType);
  const int64_t* borders = &task.call.params.ints[matmul_params::kBorders];
  const int64_t begin_k = borders[segment], end_k = borders[segment + 1];
  const auto line_at = [](int64_t at_k) { return at_k / Weights::kLineK * kLineBytes; };
  const int64_t begin = line_at(begin_k), next = end_k < k ? line_at(end_k) : kBlocks * block_bytes;
  TileArgs args{.weights = blocks + begin, .block_bytes = block_bytes, .begin_k = begin_k, .end_k = end_k, .prefetch_bytes = next - begin};
  args.merges = __builtin_ctz(~static_cast<unsigned>(segment));
  for (int64_t t = 0; t < task.num_tiles; ++t) {
    const RowTile tile = FindTile<kBlocks>(task, t);
    args.x = task.x + tile.first_row * k + begin_k * tile.num_rows;
    args.sums = tile.sums;
    kTiles<Weights, kBlocks>[static_cast<size_t>(tile.num_rows - 1)](args);
  }
}

// Adds bias and residual to the total of all segments.
template <int kBlocks>
void Finish(const Task& task, int64_t first_block) {
  const Tensor &out = task.call[0], &bias = task.call[3], &residual = task.call[4];
  const int level = __builtin_ctz(static_cast<unsigned>(task.leaves));   // where the total waits
  for (int64_t t = 0; t < task.num_tiles; ++t) {
    const RowTile tile = FindTile<kBlocks>(task, t);
    const float* total = tile.sums + level * tile.num_rows * kBlocks * kLanes;
    for (int64_t r = 0; r < tile.num_rows; ++r) {
      const int64_t row = task.rows.begin + tile.first_row + r;
      for (int64_t n = first_block * kLanes; n < (first_block + kBlocks) * kLanes; n += kLanes, total += kLanes) {
        const int lanes = LanesLeft(n, out.cols);
        F32 value = Load(total);
        if (bias.is_present()) value = Add(value, LoadFirst(bias.f32() + n, lanes));
        if (residual.is_present()) value = Add(LoadFirst(residual.f32(row) + n, lanes), value);
        StoreFirst(out.f32(row) + n, value, lanes);
      }
    }
  }
}

template <typename Weights, int kBlocks>
void MultiplyBlocks(const Task& task, int64_t first_block) {
  const Tensor& weight = task.call[2];
  const std::byte* blocks = weight.data + first_block * PackedBlockBytes(weight.cols, Weights::kDType);
  for (int segment = 0; segment < task.leaves; ++segment) MultiplySegment<Weights, kBlocks>(task, blocks, segment);
  Finish<kBlocks>(task, first_block);
}

template <typename Weights, int kBlocks>
void MultiplyGroup(const Task& task, int64_t first_block, int64_t end_block) {
  for (; first_block + kBlocks <= end_block; first_block += kBlocks) MultiplyBlocks<Weights, kBlocks>(task, first_block);
  for (; first_block < end_block; ++first_block) MultiplyBlocks<Weights, 1>(task, first_block);
}

template <typename Weights>
void Multiply(const KernelCall& call, const MatMulCut& cut, int64_t index, std::byte* scratch) {
  const int64_t first_block = index % cut.block_groups * cut.blocks_per_task, end = first_block + cut.blocks_per_task;
  const int64_t end_block = end < cut.blocks ? end : cut.blocks;
  const IndexRange rows = Part(cut.rows, index / cut.block_groups, cut.row_chunks);
  const float* x = cut.rows == 1 ? call[1].f32() : call[5].f32() + rows.begin * call[2].cols;
  const Task task{
      .call = call, .rows = rows, .num_tiles = NumTiles(rows), .leaves = NumLeaves(call), .x = x, .sums = reinterpret_cast<float*>(scratch)};
  switch (TileBlocks(static_cast<int>((rows.end - rows.begin + task.num_tiles - 1) / task.num_tiles))) {
    case 4:
      if constexpr (TileBlocks(1) >= 4) return MultiplyGroup<Weights, 4>(task, first_block, end_block);
      [[fallthrough]];
    case 2:
      if constexpr (TileBlocks(1) >= 2) return MultiplyGroup<Weights, 2>(task, first_block, end_block);
      [[fallthrough]];
    default:
      return MultiplyGroup<Weights, 1>(task, first_block, end_block);
  }
}

void PackRows(const KernelCall& call, const MatMulCut& cut, int64_t index) {
  const int64_t k = call[2].cols;
  const IndexRange rows = Part(cut.rows, index / cut.k_ranges, cut.row_chunks), range = Part(k, index % cut.k_ranges, cut.k_ranges);
  const int64_t num_tiles = NumTiles(rows);
  for (int64_t t = 0; t < num_tiles; ++t) {
    const IndexRange part = Part(rows.end - rows.begin, t, num_tiles);
    const int64_t first_row = rows.begin + part.begin, tile_rows = part.end - part.begin;
    float* tile = call[5].f32() + first_row * k;
    for (int64_t r = 0; r < tile_rows; ++r) {
      const float* row = call[1].f32(first_row + r);
      for (int64_t i = range.begin; i < range.end; ++i) tile[i * tile_rows + r] = row[i];
    }
  }
}

template <typename Weights>
void MatMul(const KernelCall& call, const StepView& step, int stage, int64_t task, std::byte* scratch) {
  const MatMulCut cut = CutMatMul(call, step);
  if (stage == 0) return PackRows(call, cut, task);
  Multiply<Weights>(call, cut, task, scratch);
}

}  // namespace

void MatMulF32(const KernelCall& call, const StepView& step, int stage, int64_t task, std::byte* scratch) noexcept {
  MatMul<F32Weights>(call, step, stage, task, scratch);
}

void MatMulBf16(const KernelCall& call, const StepView& step, int stage, int64_t task, std::byte* scratch) noexcept {
  MatMul<Bf16Weights>(call, step, stage, task, scratch);
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
