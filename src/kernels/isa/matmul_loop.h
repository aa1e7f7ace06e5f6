// The loops around the tiles of a matmul, the same at every level and for every kind of weights: a task takes a chunk of rows times a group of
// blocks, and walks blocks > segments > row tiles, so that a segment of weights is read from memory once a chunk and from cache by every
// further tile. `Weights` says how a tile walks lines (Walk), how large it may be (kMaxRows, Blocks), and where lines and packed
// activations are (LineOf, Chunk, SetActivations).
#pragma once
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

constexpr int kMaxTileBlocks = 4;

// TileArgs::sums of every row tile of a chunk: what a task of stage 1 keeps in its scratch memory.
constexpr int64_t kSumFloats = kSumLevels * kMatMulChunkRows * kMaxTileBlocks * kLanes;
static_assert(kSumFloats * sizeof(float) <= kScratchBytes);

template <typename Weights, int kBlocks, size_t... kRows>
constexpr auto MakeTiles(std::index_sequence<kRows...>) {
  using Function = void (*)(const TileArgs&) noexcept;
  constexpr auto tile = [](auto rows) -> Function {
    constexpr int kTileRows = static_cast<int>(rows()) + 1;
    if constexpr (kBlocks == 1 || kBlocks <= Weights::Blocks(kTileRows)) return Tile<Weights, kTileRows, kBlocks>;
    return nullptr;
  };
  return std::array<Function, sizeof...(kRows)>{tile(std::integral_constant<size_t, kRows>())...};
}

// By rows - 1; null where so many accumulators would not fit.
template <typename Weights, int kBlocks>
inline constexpr auto kTiles = MakeTiles<Weights, kBlocks>(std::make_index_sequence<Weights::kMaxRows>());

// One task of stage 1: a chunk of rows.
struct Task {
  const KernelCall& call;
  IndexRange rows;
  int64_t num_tiles = 0;
  int leaves = kSegments;     // segments that count
  const std::byte* x = nullptr;   // the chunk's activations, tile by tile
  float* sums = nullptr;
};

// A row tile of a task.
struct RowTile {
  int64_t first_row = 0, num_rows = 0;   // within the chunk
  float* sums = nullptr;
};

template <typename Weights>
int64_t NumTiles(IndexRange rows) {
  return (rows.end - rows.begin + Weights::kMaxRows - 1) / Weights::kMaxRows;
}

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
  const int64_t begin = Weights::LineOf(begin_k), next = end_k < k ? Weights::LineOf(end_k) : kBlocks * block_bytes;
  TileArgs args{.weights = blocks + begin,
                .block_bytes = block_bytes,
                .begin_k = begin_k,
                .end_k = end_k,
                .prefetch_bytes = next - begin,
                .num_tiles = task.num_tiles};
  args.merges = __builtin_ctz(~static_cast<unsigned>(segment));
  for (int64_t t = 0; t < task.num_tiles; ++t) {
    const RowTile tile = FindTile<kBlocks>(task, t);
    args.tile = t;
    Weights::SetActivations({.chunk = task.x, .first_row = tile.first_row, .num_rows = tile.num_rows, .k = k}, begin_k, args);
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
  const Task task{.call = call,
                  .rows = rows,
                  .num_tiles = NumTiles<Weights>(rows),
                  .leaves = NumLeaves(call),
                  .x = Weights::Chunk(call, cut, rows.begin),
                  .sums = reinterpret_cast<float*>(scratch)};
  switch (Weights::Blocks(static_cast<int>((rows.end - rows.begin + task.num_tiles - 1) / task.num_tiles))) {
    case 4:
      if constexpr (Weights::Blocks(1) >= 4) return MultiplyGroup<Weights, 4>(task, first_block, end_block);
      [[fallthrough]];
    case 2:
      if constexpr (Weights::Blocks(1) >= 2) return MultiplyGroup<Weights, 2>(task, first_block, end_block);
      [[fallthrough]];
    default:
      return MultiplyGroup<Weights, 1>(task, first_block, end_block);
  }
}

}  // namespace
}  // namespace intaglio::kernels::INTAGLIO_ISA
