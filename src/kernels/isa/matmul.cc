// out = residual + (x W^T + bias): the loops around the tiles, the same at every level. In stage 0 the activations of every row tile are
// packed k-major, [k][rows of the tile]; a single row is that already. In stage 1 a task takes a chunk of rows times a group of blocks, and
// walks blocks > pieces of K > row tiles, so that a piece of weights is read from memory once a chunk and from cache by every further tile.
#include <array>
#include <type_traits>
#include <utility>

#include "kernels/isa/matmul_tile.h"
#include "kernels/matmul_tasks.h"
#include "kernels/pack.h"
#include "kernels/params.h"

namespace intaglio::kernels::INTAGLIO_ISA {
namespace {

constexpr int64_t kLineBytes = kLanes * sizeof(float);
// Where several row tiles share weights, K is walked in pieces of at most this many, which stay in cache from one tile to the next.
constexpr int64_t kPieceK = 512;
constexpr int kMaxTileBlocks = 4;

// What a task of stage 1 keeps in its scratch memory.
struct Scratch {
  float sums[kSumLevels * kMatMulChunkRows * kMaxTileBlocks * kLanes];   // per row tile, as TileArgs::sums
  float unfinished[kMatMulChunkRows * kMaxTileBlocks * kLanes];          // per row tile, as TileArgs::unfinished
  float panel[kMaxTileBlocks * (kPieceK + 2) * kLanes];                  // a piece of bf16 weights as f32: [block][k][16]
};
static_assert(sizeof(Scratch) <= kScratchBytes);

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

// One task of stage 1.
struct Task {
  const KernelCall& call;
  IndexRange rows;         // of the chunk
  int64_t num_tiles = 0;   // of the chunk
  const float* x = nullptr;   // packed activations of the chunk
  Scratch* scratch = nullptr;
};

int64_t NumTiles(IndexRange rows) { return (rows.end - rows.begin + kMaxTileRows - 1) / kMaxTileRows; }

// Segment s, or a piece of it.
struct Piece {
  int segment = 0;
  int64_t begin_k = 0, end_k = 0;
  bool is_first = false, is_last = false;   // of its segment
};

// Widens the lines of a piece of bf16 weights; the panel starts with the even k of the first line.
template <int kBlocks>
void WidenPiece(const std::byte* weights, int64_t block_bytes, int64_t num_lines, float* panel) {
  for (int b = 0; b < kBlocks; ++b) {
    const std::byte* line = weights + b * block_bytes;
    for (int64_t i = 0; i < num_lines; ++i, line += kLineBytes, panel += 2 * kLanes) {
      Store(panel, LoadBf16Even(line));
      Store(panel + kLanes, LoadBf16Odd(line));
    }
  }
}

template <typename Weights, int kBlocks>
void MultiplyPiece(const Task& task, const std::byte* blocks, const Piece& piece) {
  const int64_t k = task.call[2].cols, block_bytes = PackedBlockBytes(k, Weights::kDType);
  const std::byte* weights = blocks + piece.begin_k / Weights::kLineK * kLineBytes;
  const int64_t num_lines = (piece.end_k + Weights::kLineK - 1) / Weights::kLineK - piece.begin_k / Weights::kLineK;
  TileArgs args{.weights = weights, .block_bytes = block_bytes, .begin_k = piece.begin_k, .end_k = piece.end_k};
  args.prefetch_block_bytes = block_bytes;
  args.merges = __builtin_ctz(~static_cast<unsigned>(piece.segment));
  const bool is_widened = Weights::kDType == DType::kBF16 && task.num_tiles > 1;
  if (is_widened) {
    WidenPiece<kBlocks>(weights, block_bytes, num_lines, task.scratch->panel);
    args.weights = reinterpret_cast<const std::byte*>(task.scratch->panel + piece.begin_k % Weights::kLineK * kLanes);
    args.block_bytes = num_lines * Weights::kLineK * kLineBytes;
  }
  const int64_t next_bytes = num_lines * kLineBytes;   // the next piece is about as long as this one
  const std::byte* next = piece.end_k < k ? weights + next_bytes : blocks + kBlocks * block_bytes;
  args.prefetch_step = kLineBytes / task.num_tiles / (is_widened ? Weights::kLineK : 1);
  const int64_t num_rows = task.rows.end - task.rows.begin;
  for (int64_t t = 0; t < task.num_tiles; ++t) {
    const IndexRange tile = Part(num_rows, t, task.num_tiles);
    const int64_t tile_rows = tile.end - tile.begin, tile_offset = tile.begin * kBlocks * kLanes;
    args.x = task.x + tile.begin * k + piece.begin_k * tile_rows;
    args.prefetch = next + next_bytes * t / task.num_tiles;
    args.sums = task.scratch->sums + kSumLevels * tile_offset;
    args.start = piece.is_first ? nullptr : task.scratch->unfinished + tile_offset;
    args.unfinished = piece.is_last ? nullptr : task.scratch->unfinished + tile_offset;
    if (is_widened) {
      kTiles<F32Weights, kBlocks>[static_cast<size_t>(tile_rows - 1)](args);
    } else {
      kTiles<Weights, kBlocks>[static_cast<size_t>(tile_rows - 1)](args);
    }
  }
}

// Adds bias and residual to the total of all segments.
template <int kBlocks>
void Finish(const Task& task, int64_t first_block) {
  const Tensor &out = task.call[0], &bias = task.call[3], &residual = task.call[4];
  const int64_t num_rows = task.rows.end - task.rows.begin;
  for (int64_t t = 0; t < task.num_tiles; ++t) {
    const IndexRange tile = Part(num_rows, t, task.num_tiles);
    const int64_t tile_floats = (tile.end - tile.begin) * kBlocks * kLanes;
    const float* total = task.scratch->sums + kSumLevels * tile.begin * kBlocks * kLanes + (kSumLevels - 1) * tile_floats;
    for (int64_t row = task.rows.begin + tile.begin; row < task.rows.begin + tile.end; ++row) {
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
  const int64_t* borders = &task.call.params.ints[matmul_params::kBorders];
  const std::byte* blocks = weight.data + first_block * PackedBlockBytes(weight.cols, Weights::kDType);
  for (int s = 0; s < kSegments; ++s) {
    Piece piece{.segment = s, .begin_k = borders[s], .is_first = true};
    while (!piece.is_last) {
      const bool is_cut = task.num_tiles > 1 && borders[s + 1] - piece.begin_k > kPieceK;
      piece.end_k = is_cut ? piece.begin_k + kPieceK : borders[s + 1];
      piece.is_last = !is_cut;
      MultiplyPiece<Weights, kBlocks>(task, blocks, piece);
      piece.begin_k = piece.end_k;
      piece.is_first = false;
    }
  }
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
  const Task task{.call = call, .rows = rows, .num_tiles = NumTiles(rows), .x = x, .scratch = reinterpret_cast<Scratch*>(scratch)};
  switch (TileBlocks(static_cast<int>((rows.end - rows.begin + task.num_tiles - 1) / task.num_tiles))) {
    case 4: if constexpr (TileBlocks(1) >= 4) return MultiplyGroup<Weights, 4>(task, first_block, end_block); [[fallthrough]];
    case 2: if constexpr (TileBlocks(1) >= 2) return MultiplyGroup<Weights, 2>(task, first_block, end_block); [[fallthrough]];
    default: return MultiplyGroup<Weights, 1>(task, first_block, end_block);
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
