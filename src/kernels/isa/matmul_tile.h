// The register tiles of matmul: kRows rows times kBlocks blocks of 16 columns, over one segment of K. Columns are in lanes, so an element
// is one chain of FMAs in ascending k whatever the tile's shape.
//
// Segments are merged as a binary counter: after segment s the tile adds the waiting sums of as many levels as s has trailing ones,
// earlier + later, which is ((s0+s1)+(s2+s3))+((s4+s5)+(s6+s7)) in the end.
#pragma once
#include "kernels/isa/simd.h"
#include "kernels/matmul_tasks.h"

namespace intaglio::kernels::INTAGLIO_ISA {

// Most rows of a tile of floats, and the blocks beside them: as many accumulators as leave registers for the weights and a broadcast (32
// registers of 16 lanes at AVX-512, 16 of 8 at AVX2), and four streams of weights where memory is the limit.
#if INTAGLIO_ISA_avx512
inline constexpr int kMaxTileRows = 12;
constexpr int TileBlocks(int rows) { return rows <= 6 ? 4 : 2; }
#elif INTAGLIO_ISA_avx2
inline constexpr int kMaxTileRows = 6;
constexpr int TileBlocks(int rows) { return rows == 1 ? 4 : rows == 2 ? 2 : 1; }
#else
inline constexpr int kMaxTileRows = 4;
constexpr int TileBlocks(int) { return 1; }
#endif

inline constexpr int64_t kLineBytes = kLanes * sizeof(float);
inline constexpr int kSumLevels = 4;   // waiting sums of 1, 2 and 4 segments, and the total of all 8 (or of as many leaves as there are)

struct TileArgs {
  const std::byte* x = nullptr;         // of the first k: f32 [k][kRows], or steps of quantised activations (quant_rows.h)
  const float* x_scales = nullptr;      // quantised: [activation group][kRows]
  const std::byte* x_sums = nullptr;    // quantised: [weight group][kRows], what the sums of activations add
  const std::byte* weights = nullptr;   // of the first block, at the line that holds the first k
  int64_t block_bytes = 0;              // from one block to the next
  int64_t begin_k = 0, end_k = 0;
  int64_t prefetch_bytes = 0;           // from a line to its counterpart in the next segment
  int64_t tile = 0, num_tiles = 1;      // row tiles that walk the same weights, and which of them this is
  float* sums = nullptr;                // [kSumLevels][kRows][kBlocks][16]
  int merges = 0;                       // levels to merge; the result waits on the next one
};

// The rows of a tile within the packed activations of a chunk of rows.
struct TileRows {
  const std::byte* chunk = nullptr;
  int64_t first_row = 0, num_rows = 0;   // within the chunk
  int64_t k = 0;                         // of the whole matrix
};

// Activations in f32, tile by tile, each [k][rows of the tile]. A single row is that already.
struct F32Activations {
  static const std::byte* Chunk(const KernelCall& call, const MatMulCut& cut, int64_t first_row) {
    return reinterpret_cast<const std::byte*>(cut.rows == 1 ? call[1].f32() : call[5].f32() + first_row * call[2].cols);
  }
  static void SetActivations(const TileRows& rows, int64_t begin_k, TileArgs& args) {
    args.x = rows.chunk + (rows.first_row * rows.k + begin_k * rows.num_rows) * static_cast<int64_t>(sizeof(float));
  }
};

// sum[r][b] += x[r] * w[b]
template <int kRows, int kBlocks>
INTAGLIO_INLINE void AddProducts(const float* x, const F32 (&w)[kBlocks], F32 (&sum)[kRows][kBlocks]) {
  INTAGLIO_UNROLL for (int r = 0; r < kRows; ++r) {
    const F32 row = Set(x[r]);
    INTAGLIO_UNROLL for (int b = 0; b < kBlocks; ++b) sum[r][b] = Fma(row, w[b], sum[r][b]);
  }
}

// Fetches the line's counterpart in the next segment into L2. Four streams that little is computed with are left to the hardware's
// prefetcher: there, on Zen 4 in 2026-11, help costs up to a fifth of the bandwidth; elsewhere it gains as much and more.
template <int kRows, int kBlocks, int kLineK>
INTAGLIO_INLINE void Prefetch(const TileArgs& args, const std::byte* line) {
  if constexpr (kBlocks < 4 || kRows * kLineK >= 6) {
    INTAGLIO_UNROLL for (int b = 0; b < kBlocks; ++b)
        __builtin_prefetch(line + b * args.block_bytes + args.prefetch_bytes, /*write=*/0, /*locality=*/2);
  }
}

// How a tile walks the lines of 64 bytes of f32 weights: one k each.
struct F32Weights : F32Activations {
  static constexpr DType kDType = DType::kF32;
  static constexpr int kLineK = 1, kMaxRows = kMaxTileRows;
  static constexpr int Blocks(int rows) { return TileBlocks(rows); }
  static constexpr int64_t LineOf(int64_t k) { return k / kLineK * kLineBytes; }

  template <int kRows, int kBlocks>
  static INTAGLIO_INLINE void Walk(const TileArgs& args, F32 (&sum)[kRows][kBlocks]) {
    const auto* x = reinterpret_cast<const float*>(args.x);
    const std::byte* line = args.weights;
#pragma GCC unroll 4
    for (int64_t k = args.begin_k; k < args.end_k; ++k) {
      F32 w[kBlocks];
      INTAGLIO_UNROLL for (int b = 0; b < kBlocks; ++b) {
        w[b] = Load(reinterpret_cast<const float*>(line + b * args.block_bytes));
        if (kRows > 1) Pin(w[b]);
      }
      Prefetch<kRows, kBlocks, kLineK>(args, line);
      AddProducts(x, w, sum);
      x += kRows;
      line += kLanes * sizeof(float);
    }
  }
};

// What was loaded through `p` is loaded again at the next use, not kept in a register: at AVX2 all are taken.
template <typename T>
INTAGLIO_INLINE void LoadAgain(const T*& p) {
  asm volatile("" : "+r"(p));
}

alignas(64) inline constexpr uint32_t kUpperHalves[kLanes] = {~0xffffu, ~0xffffu, ~0xffffu, ~0xffffu, ~0xffffu, ~0xffffu, ~0xffffu, ~0xffffu,
                                                              ~0xffffu, ~0xffffu, ~0xffffu, ~0xffffu, ~0xffffu, ~0xffffu, ~0xffffu, ~0xffffu};

// bf16: two k in a line, the lower and the upper halves of its lanes. A range may start at the odd one, and end after the even one. Widening
// within the tile costs little: shifts and masks have units of their own, and no pass over memory is added.
struct Bf16Weights : F32Activations {
  static constexpr DType kDType = DType::kBF16;
  static constexpr int kLineK = 2, kMaxRows = kMaxTileRows;
  static constexpr int Blocks(int rows) { return TileBlocks(rows); }
  static constexpr int64_t LineOf(int64_t k) { return k / kLineK * kLineBytes; }

  template <int kRows, int kBlocks>
  static INTAGLIO_INLINE void AddEven(const std::byte* line, int64_t block_bytes, const float* x, F32 (&sum)[kRows][kBlocks]) {
    F32 w[kBlocks];
    INTAGLIO_UNROLL for (int b = 0; b < kBlocks; ++b) w[b] = LoadBf16Even(line + b * block_bytes);
    AddProducts(x, w, sum);
  }

  template <int kRows, int kBlocks>
  static INTAGLIO_INLINE void AddOdd(const std::byte* line, int64_t block_bytes, const float* x, F32 (&sum)[kRows][kBlocks]) {
    const uint32_t* upper = kUpperHalves;
    LoadAgain(upper);
    F32 w[kBlocks];
    INTAGLIO_UNROLL for (int b = 0; b < kBlocks; ++b) {
      w[b] = FromBits(And(LoadU32(upper), LoadU32(reinterpret_cast<const uint32_t*>(line + b * block_bytes))));
    }
    AddProducts(x, w, sum);
  }

  template <int kRows, int kBlocks>
  static INTAGLIO_INLINE void Walk(const TileArgs& args, F32 (&sum)[kRows][kBlocks]) {
    const auto* x = reinterpret_cast<const float*>(args.x);
    const std::byte* line = args.weights;
    int64_t k = args.begin_k;
    if (k % 2 != 0 && k < args.end_k) {
      AddOdd(line, args.block_bytes, x, sum);
      x += kRows;
      line += kLanes * sizeof(float);
      ++k;
    }
#pragma GCC unroll 2
    for (; k + 1 < args.end_k; k += 2) {
      Prefetch<kRows, kBlocks, kLineK>(args, line);
      AddEven(line, args.block_bytes, x, sum);
      LoadAgain(line);
      AddOdd(line, args.block_bytes, x + kRows, sum);
      x += 2 * kRows;
      line += kLanes * sizeof(float);
    }
    if (k < args.end_k) AddEven(line, args.block_bytes, x, sum);
  }
};

template <typename Weights, int kRows, int kBlocks>
void Tile(const TileArgs& args) noexcept {
  constexpr int kFloats = kRows * kBlocks * kLanes;
  F32 sum[kRows][kBlocks];
  INTAGLIO_UNROLL for (int r = 0; r < kRows; ++r) { INTAGLIO_UNROLL for (int b = 0; b < kBlocks; ++b) sum[r][b] = Zero(); }
  Weights::Walk(args, sum);
  float* to = args.sums;
  for (int level = 0; level < args.merges; ++level, to += kFloats) {
    INTAGLIO_UNROLL for (int r = 0; r < kRows; ++r) {
      INTAGLIO_UNROLL for (int b = 0; b < kBlocks; ++b) sum[r][b] = Add(Load(to + (r * kBlocks + b) * kLanes), sum[r][b]);
    }
  }
  INTAGLIO_UNROLL for (int r = 0; r < kRows; ++r) {
    INTAGLIO_UNROLL for (int b = 0; b < kBlocks; ++b) Store(to + (r * kBlocks + b) * kLanes, sum[r][b]);
  }
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
