// The outer loops of matmul: stage 0 packs rows for the tiles, stage 1 walks row chunk x column blocks > segment > row tile.
#include "kernels/isa/matmul_tile.h"
#include "kernels/matmul_tasks.h"
#include "kernels/pack.h"

namespace intaglio::kernels::INTAGLIO_ISA {
namespace {

// Tile shapes by what fits in the level's registers: MR * NB sums, NB weights, a broadcast.
#if INTAGLIO_ISA_avx512
constexpr int kMaxTileRows = 12, kMaxDirectBf16Rows = 12;
template <int MR> constexpr int kTileBlocks = MR <= 5 ? 4 : 2;
#elif INTAGLIO_ISA_avx2
constexpr int kMaxTileRows = 6, kMaxDirectBf16Rows = 4;   // bf16 needs a mask and a temporary more: six rows would spill
template <int MR> constexpr int kTileBlocks = MR == 1 ? 4 : MR <= 3 ? 2 : 1;
#else
constexpr int kMaxTileRows = 4, kMaxDirectBf16Rows = 4;
template <int MR> constexpr int kTileBlocks = 1;
#endif
constexpr int64_t kSkinnyRows = 16;          // up to here four rows a tile, which a single weight stream can feed
constexpr int64_t kWidenRows = 32;           // from here on bf16 panels are widened to f32 once and used by every row tile
constexpr int64_t kMaxPanelBytes = 512 << 10;
static_assert(kPackRows % kMaxTileRows == 0 && kPackRows % 4 == 0 && kChunkRows % kPackRows == 0);

// Rows of a full tile. Depends on the live rows alone, so that both stages agree.
int64_t TileRows(int64_t rows) { return rows <= kSkinnyRows && kMaxTileRows < 12 ? std::min<int64_t>(4, kMaxTileRows) : kMaxTileRows; }

// Rows [begin, end) of x -> tiles [k][MR] at W + begin * K floats.
void PackRows(const KernelCall& call, int64_t rows, int64_t task) {
  const Tensor &x = call[1], &workspace = call[5];
  const int64_t k_size = x.cols, tile_rows = TileRows(rows), end = std::min(rows, (task + 1) * kPackRows);
  for (int64_t row = task * kPackRows; row < end; row += tile_rows) {
    const int64_t mr = std::min(tile_rows, end - row);
    float* out = workspace.f32() + row * k_size;
    for (int64_t r = 0; r < mr; ++r) {
      const float* in = x.f32(row + r);
      for (int64_t k = 0; k < k_size; ++k) out[k * mr + r] = in[k];
    }
  }
}

// The float panel of one segment of `blocks` blocks: [block][k][16].
template <int NB>
void WidenPanel(const TileInput& in, float* panel) {
  for (int b = 0; b < NB; ++b) {
    const std::byte* block = in.weights + b * in.block_bytes;
    for (int64_t k = in.first_k; k < in.last_k; ++k, panel += kLanes) {
      const std::byte* row = block + k / 2 * 64;
      Store(panel, k % 2 == 0 ? LoadBf16Even(row) : LoadBf16Odd(row));
    }
  }
}

struct Chunk {
  const KernelCall& call;
  int64_t first_row, num_rows, tile_rows, live_rows;
  float* pending;
  float* panel;
};

Epilogue MakeEpilogue(const Chunk& c, int64_t row, int64_t column, int64_t columns, int segment) {
  const Tensor &out = c.call[0], &bias = c.call[3], &residual = c.call[4];
  return {.pending = c.pending + (row - c.first_row) * kTaskBlocks * kLanes,
          .level_stride = kChunkRows * kTaskBlocks * kLanes,
          .segment = segment,
          .out = out.f32(row) + column,
          .out_stride = out.stride,
          .bias = bias.is_present() ? bias.f32() + column : nullptr,
          .residual = residual.is_present() ? residual.f32(row) + column : nullptr,
          .residual_stride = residual.stride,
          .columns = columns};
}

template <typename Weights, int MR, int NB>
void RunTile(const TileInput& in, const Epilogue& e, int64_t rows) {
  if constexpr (MR > 0) {
    if (rows == MR) return Weights::template Tile<MR, NB>(in, e);
    RunTile<Weights, MR - 1, NB>(in, e, rows);
  }
}

// All row tiles of the chunk over one group of NB blocks, segment by segment.
template <typename Weights, int NB, int kMaxRows>
void RunBlocks(const Chunk& c, int64_t first_block, int64_t num_blocks) {
  const Tensor &x = c.call[1], &weight = c.call[2];
  const int64_t k_size = x.cols, block_bytes = PackedBlockBytes(k_size, weight.dtype), column = first_block * kLanes;
  const int64_t columns = std::min<int64_t>(num_blocks * kLanes, c.call[0].cols - column);
  const float* packed = c.live_rows > 1 ? c.call[5].f32() : nullptr;
  for (int s = 0; s < kSegments; ++s) {
    TileInput in{.x = nullptr, .weights = weight.data + first_block * block_bytes, .block_bytes = block_bytes,
                 .first_k = c.call.params.ints[static_cast<size_t>(s)], .last_k = c.call.params.ints[static_cast<size_t>(s) + 1]};
    const int64_t segment_k = in.last_k - in.first_k, first_k = in.first_k;
    const bool is_widened = std::is_same_v<Weights, Bf16Weights> && c.num_rows >= kWidenRows && NB * segment_k * 64 <= kMaxPanelBytes && segment_k > 0;
    if (is_widened) {
      WidenPanel<NB>(in, c.panel);
      in = {.x = nullptr, .weights = reinterpret_cast<const std::byte*>(c.panel), .block_bytes = segment_k * 64, .first_k = 0, .last_k = segment_k};
    }
    for (int64_t row = c.first_row; row < c.first_row + c.num_rows; row += c.tile_rows) {
      const int64_t mr = std::min(c.tile_rows, c.first_row + c.num_rows - row);
      in.x = packed != nullptr ? packed + row * k_size + first_k * mr : x.f32(row) + first_k;
      const Epilogue e = MakeEpilogue(c, row, column, columns, s);
      if (is_widened) {
        RunTile<F32Weights, kMaxRows, NB>(in, e, mr);
      } else {
        RunTile<Weights, kMaxRows, NB>(in, e, mr);
      }
    }
  }
}

// Runs the task's blocks in groups as wide as the tallest tile of the chunk allows; a group that would leave the matrix goes block by block.
template <typename Weights, int MR>
void RunChunk(const Chunk& c, int64_t first_block, int64_t last_block) {
  if constexpr (MR > 1) {
    if (c.tile_rows < MR) return RunChunk<Weights, MR - 1>(c, first_block, last_block);
  }
  constexpr int NB = kTileBlocks<MR>;
  int64_t block = first_block;
  for (; block + NB <= last_block; block += NB) RunBlocks<Weights, NB, MR>(c, block, NB);
  for (; block < last_block; ++block) RunBlocks<Weights, 1, MR>(c, block, 1);
}

template <typename Weights>
void Run(const KernelCall& call, const StepView& step, int stage, int64_t task, std::byte* scratch) {
  const int64_t rows = LiveRows(call, step);
  if (stage == 0) return PackRows(call, rows, task);
  const int64_t num_chunks = CeilDiv(rows, kChunkRows), first_row = task % num_chunks * kChunkRows;
  auto* pending = reinterpret_cast<float*>(scratch);
  constexpr int64_t kPendingFloats = 3 * kChunkRows * kTaskBlocks * kLanes;
  static_assert(kPendingFloats * 4 + kMaxPanelBytes <= static_cast<int64_t>(kScratchBytes));
  const int64_t num_rows = std::min(kChunkRows, rows - first_row);
  int64_t tile_rows = rows > 1 ? TileRows(rows) : 1;
  const Chunk chunk{.call = call, .first_row = first_row, .num_rows = num_rows, .tile_rows = tile_rows, .live_rows = rows, .pending = pending, .panel = pending + kPendingFloats};
  const int64_t first_block = task / num_chunks * kTaskBlocks, last_block = std::min(first_block + kTaskBlocks, CeilDiv(call[0].cols, kLanes));
  RunChunk<Weights, kMaxTileRows>(chunk, first_block, last_block);
}

}  // namespace

void MatMulF32(const KernelCall& call, const StepView& step, int stage, int64_t task, std::byte* scratch) noexcept { Run<F32Weights>(call, step, stage, task, scratch); }
void MatMulBf16(const KernelCall& call, const StepView& step, int stage, int64_t task, std::byte* scratch) noexcept { Run<Bf16Weights>(call, step, stage, task, scratch); }

}  // namespace intaglio::kernels::INTAGLIO_ISA
