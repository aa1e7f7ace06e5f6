// How a tile of matmul walks quantised weights: the integer sums of a group are exact, then one FMA a group, ascending:
//   sum = fma(float(sum of q x), scale_x * d, sum), and where there is a minimum m, sum = fma(scale_x * float(sum of x), m, sum).
#pragma once
#include <utility>

#include "kernels/isa/quant_rows.h"

namespace intaglio::kernels::INTAGLIO_ISA {

template <DType kType> struct QuantWeights {
  static constexpr DType kDType = kType;
  static constexpr QuantFormat kFormat = FormatOf(kType);
  using Lines = QuantLines<kType>;
  using Sum = IntSum<Lines::kMaxBits>;
  static constexpr int64_t kRunK = 32, kStepBytes = StepBytes(Lines::kMaxBits), kGroups = kFormat.unit_k / kFormat.group_k;

  // Two accumulators a row and block, of integers and of floats, in 32 registers; with AVX2 those of floats are in memory.
#if INTAGLIO_ISA_avx512
  static constexpr int kMaxRows = 6;
  static constexpr int Blocks(int rows) { return rows == 1 ? 4 : 2; }
#elif INTAGLIO_ISA_avx2
  static constexpr int kMaxRows = kWidensBytes && Lines::kMaxBits == 8 ? 4 : 6;
  static constexpr int Blocks(int rows) { return rows == 1 ? 4 : rows == 2 ? 2 : 1; }
#else
  static constexpr int kMaxRows = 1;   // speed is for other levels
  static constexpr int Blocks(int) { return 1; }
#endif

  static constexpr int64_t LineOf(int64_t k) { return (k + kFormat.unit_k - 1) / kFormat.unit_k * kFormat.unit_bytes(); }
  static const std::byte* Chunk(const KernelCall& call, const MatMulCut&, int64_t first_row) {
    return call[5].data + first_row * MatMulRowBytes(call[2].cols, kType);
  }
  static void SetActivations(const TileRows& rows, int64_t begin_k, TileArgs& args) {
    const QuantTile<kType> tile(const_cast<std::byte*>(rows.chunk) + rows.first_row * MatMulRowBytes(rows.k, kType), rows.num_rows, rows.k);
    args.x = tile.step(begin_k);
    args.x_scales = tile.scale(begin_k);
    args.x_sums = tile.sum(begin_k);
  }

  template <int kRows, int kBlocks> static INTAGLIO_INLINE void Walk(const TileArgs& args, F32 (&sum)[kRows][kBlocks]) {
    Position p{args.weights, args.block_bytes, args.x, args.x_scales, args.x_sums};
    int64_t until_own = args.tile;
    for (int64_t k = args.begin_k; k < args.end_k; k += kFormat.unit_k) {
      if constexpr (kBlocks < 4) {
        if (until_own-- == 0) {
          PrefetchUnit<kBlocks>(p, args.prefetch_bytes);
          until_own = args.num_tiles - 1;
        }
      }
      AddUnit(p, sum);
      p.unit += kFormat.unit_bytes();
    }
  }

 private:
  struct Position {
    const std::byte* unit;      // of the first block
    int64_t block_bytes;
    const std::byte* x;         // of the next run
    const float* x_scales;      // of the next activation group
    const std::byte* x_sums;    // of the next weight group
  };

  // Fetches the unit's counterpart in the next segment into L2; the row tiles that walk the same weights take turns. Four streams of a single row
  // are left to the hardware's prefetcher.
  template <int kBlocks> static INTAGLIO_INLINE void PrefetchUnit(const Position& p, int64_t distance) {
    INTAGLIO_UNROLL for (int b = 0; b < kBlocks; ++b) {
      const std::byte* next = p.unit + b * p.block_bytes + distance;
      for (int64_t i = 0; i < kFormat.unit_bytes(); i += Lines::kLineBytes) __builtin_prefetch(next + i, /*write=*/0, /*locality=*/2);
    }
  }

  template <int kRows, int kBlocks> static INTAGLIO_INLINE void AddUnit(Position& p, F32 (&sum)[kRows][kBlocks]) {
    typename Lines::Header header[kBlocks];
    INTAGLIO_UNROLL for (int b = 0; b < kBlocks; ++b) header[b] = Lines::ReadHeader(p.unit + b * p.block_bytes);
    const std::byte* run = p.unit + kFormat.header_lines * Lines::kLineBytes;
    if constexpr (kFormat.group_k < kRunK) {
      for (int64_t group = 0; group < kGroups; group += 2) {
        AddGroup<0, 4>(p, header, run, group, sum);
        AddGroup<4, 4>(p, header, run, group + 1, sum);
        p.x_scales += kRows;
        Next<kRows>(p, run);
      }
    } else {
      for (int64_t group = 0; group < kGroups; ++group) {
        AddGroup<0, static_cast<int>(kFormat.group_k / 4)>(p, header, run, group, sum);
        p.x_scales += kRows;
      }
    }
  }

  template <int kRows> static INTAGLIO_INLINE void Next(Position& p, const std::byte*& run) {
    p.x += kRunK / 4 * kRows * kStepBytes;
    run += Lines::kRunBytes;
  }

  // Steps [kFirst, kFirst + kSteps) of the run; where a group has several runs, all steps of all of them.
  template <int kFirst, int kSteps, int kRows, int kBlocks>
  static INTAGLIO_INLINE void AddGroup(Position& p, const typename Lines::Header (&header)[kBlocks], const std::byte*& run, int64_t group,
                                       F32 (&sum)[kRows][kBlocks]) {
    Sum total[kRows][kBlocks];
    INTAGLIO_UNROLL for (int r = 0; r < kRows; ++r) {
      int32_t offset = 0;
      if constexpr (!kFormat.has_min()) std::memcpy(&offset, p.x_sums + r * QuantTile<kType>::kSumBytes, sizeof offset);
      INTAGLIO_UNROLL for (int b = 0; b < kBlocks; ++b) total[r][b].Start(offset);
    }
    if constexpr (kSteps <= 8) {
      AddSteps<kFirst>(p, run, total, std::make_index_sequence<kSteps>());
      if constexpr (kFormat.group_k >= kRunK) Next<kRows>(p, run);
    } else {
      for (int i = 0; i < kSteps / 8; ++i) {
        AddSteps<0>(p, run, total, std::make_index_sequence<8>());
        Next<kRows>(p, run);
      }
    }
    INTAGLIO_UNROLL for (int b = 0; b < kBlocks; ++b) {
      const typename Lines::Scales scales = Lines::ReadScales(p.unit + b * p.block_bytes, header[b], group);
      INTAGLIO_UNROLL for (int r = 0; r < kRows; ++r) {
        sum[r][b] = Fma(total[r][b].Total(), Mul(Set(p.x_scales[r]), scales.scale), sum[r][b]);
        if constexpr (kFormat.has_min()) {
          float x_sum;
          std::memcpy(&x_sum, p.x_sums + r * QuantTile<kType>::kSumBytes, sizeof x_sum);
          sum[r][b] = Fma(Set(x_sum), scales.minimum, sum[r][b]);
        }
      }
    }
    p.x_sums += kRows * QuantTile<kType>::kSumBytes;
  }

  template <int kFirst, int kRows, int kBlocks, size_t... kStep>
  static INTAGLIO_INLINE void AddSteps(const Position& p, const std::byte* run, Sum (&total)[kRows][kBlocks], std::index_sequence<kStep...>) {
    (AddStep < kFirst + static_cast<int>(kStep), kStep + 1 == sizeof...(kStep) > (p, run, total), ...);
  }

  template <int kStep, bool kIsLast, int kRows, int kBlocks>
  static INTAGLIO_INLINE void AddStep(const Position& p, const std::byte* run, Sum (&total)[kRows][kBlocks]) {
    typename Sum::Line w[kBlocks];
    INTAGLIO_UNROLL for (int b = 0; b < kBlocks; ++b) w[b] = Sum::Split(Lines::template Step<kStep>(run + b * p.block_bytes));
    INTAGLIO_UNROLL for (int r = 0; r < kRows; ++r) {
      INTAGLIO_UNROLL for (int b = 0; b < kBlocks; ++b) total[r][b].Add(w[b], p.x + (kStep * kRows + r) * kStepBytes);
    }
    if constexpr (kIsLast || (kStep + 1) % StepsIn16(Lines::kMaxBits) == 0) {
      INTAGLIO_UNROLL for (int r = 0; r < kRows; ++r) { INTAGLIO_UNROLL for (int b = 0; b < kBlocks; ++b) total[r][b].Widen(); }
    }
  }
};

}  // namespace intaglio::kernels::INTAGLIO_ISA
