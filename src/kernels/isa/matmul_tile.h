// One tile of a matmul: MR rows times NB blocks of 16 columns over one K segment, and the epilogue that merges segments.
//
// An element is a chain of fused multiply-adds over ascending k within a segment; segments are added by the fixed tree
// ((0+1)+(2+3))+((4+5)+(6+7)). The tree is walked as a binary counter: after segment s, as many pending sums as s has trailing ones are
// added (earlier + later), and the result waits on its level or, after the last segment, is the element. A tile only decides how many
// elements go at a time.
#pragma once
#include "kernels/isa/simd.h"
#include "kernels/kernel.h"

namespace intaglio::kernels::INTAGLIO_ISA {

// Pins a value in a register: keeps GCC from folding a weight load into every FMA (which doubles the loads), and from reordering.
#if INTAGLIO_ISA_avx512
INTAGLIO_INLINE void Pin(F32& x) { asm volatile("" : "+v"(x.v)); }
#elif INTAGLIO_ISA_avx2
INTAGLIO_INLINE void Pin(F32& x) { asm volatile("" : "+x"(x.a), "+x"(x.b)); }
#else
INTAGLIO_INLINE void Pin(F32&) {}
#endif

// Where a tile's sums go.
struct Epilogue {
  float* pending = nullptr;        // this tile's sums on level 0 of the tree: [MR][NB * 16]
  int64_t level_stride = 0;        // floats from one level to the next
  int segment = 0;
  float* out = nullptr;            // the element at the tile's corner
  int64_t out_stride = 0;
  const float* bias = nullptr;     // at the tile's first column; null: none
  const float* residual = nullptr; // at the tile's corner; null: none
  int64_t residual_stride = 0;
  int64_t columns = 0;             // of the tile that exist
};

struct TileInput {
  const float* x = nullptr;        // packed activations [k][MR], at the segment's first k
  const std::byte* weights = nullptr;  // of the first block, from its k = 0
  int64_t block_bytes = 0;
  int64_t first_k = 0, last_k = 0; // the segment: [first_k, last_k)
};

template <int MR, int NB>
INTAGLIO_INLINE void StoreElements(const F32 (&sums)[MR][NB], const Epilogue& e) {
  INTAGLIO_UNROLL for (int r = 0; r < MR; ++r) {
    INTAGLIO_UNROLL for (int b = 0; b < NB; ++b) {
      const int n = static_cast<int>(e.columns - b * kLanes < kLanes ? e.columns - b * kLanes : kLanes);
      if (n <= 0) continue;
      F32 y = sums[r][b];
      if (e.bias != nullptr) y = Add(y, LoadFirst(e.bias + b * kLanes, n));
      if (e.residual != nullptr) y = Add(LoadFirst(e.residual + r * e.residual_stride + b * kLanes, n), y);
      StoreFirst(e.out + r * e.out_stride + b * kLanes, y, n);
    }
  }
}

template <int MR, int NB>
INTAGLIO_INLINE void MergeSegment(F32 (&sums)[MR][NB], const Epilogue& e) {
  float* pending = e.pending;
  for (int ones = e.segment; ones & 1; ones >>= 1, pending += e.level_stride) {
    INTAGLIO_UNROLL for (int r = 0; r < MR; ++r) {
      INTAGLIO_UNROLL for (int b = 0; b < NB; ++b) sums[r][b] = Add(Load(pending + (r * NB + b) * kLanes), sums[r][b]);
    }
  }
  if (e.segment == kSegments - 1) {
    StoreElements<MR, NB>(sums, e);
    return;
  }
  INTAGLIO_UNROLL for (int r = 0; r < MR; ++r) {
    INTAGLIO_UNROLL for (int b = 0; b < NB; ++b) Store(pending + (r * NB + b) * kLanes, sums[r][b]);
  }
}

template <int MR, int NB>
INTAGLIO_INLINE void Accumulate(F32 (&sums)[MR][NB], const float* x, F32 (&w)[NB]) {
  INTAGLIO_UNROLL for (int b = 0; b < NB; ++b) Pin(w[b]);
  INTAGLIO_UNROLL for (int r = 0; r < MR; ++r) {
    const F32 broadcast = Set(x[r]);
    INTAGLIO_UNROLL for (int b = 0; b < NB; ++b) sums[r][b] = Fma(broadcast, w[b], sums[r][b]);
  }
}

// How far ahead of its own reads a tile asks for weights, in bytes; 0: the hardware's prefetcher is enough (several streams, or rows that
// reuse what is in L1).
template <int MR, int NB>
constexpr int64_t kPrefetchBytes = MR > 1 && NB <= 2 ? 2048 : 0;

struct F32Weights {
  template <int MR, int NB>
  static __attribute__((noinline)) void Tile(const TileInput& in, const Epilogue& epilogue) {
    F32 sums[MR][NB];
    INTAGLIO_UNROLL for (int r = 0; r < MR; ++r) {
      INTAGLIO_UNROLL for (int b = 0; b < NB; ++b) sums[r][b] = Zero();
    }
    const float* x = in.x;
    const std::byte* p = in.weights + in.first_k * 64;
    const int64_t block_bytes = in.block_bytes;
    for (int64_t k = in.first_k; k < in.last_k; ++k, p += 64, x += MR) {
      F32 w[NB];
      INTAGLIO_UNROLL for (int b = 0; b < NB; ++b) {
        w[b] = Load(reinterpret_cast<const float*>(p + b * block_bytes));
        if constexpr (kPrefetchBytes<MR, NB> > 0) __builtin_prefetch(p + b * block_bytes + kPrefetchBytes<MR, NB>);
      }
      Accumulate<MR, NB>(sums, x, w);
    }
    MergeSegment<MR, NB>(sums, epilogue);
  }
};

struct Bf16Weights {
  template <int NB, bool kOdd>
  static INTAGLIO_INLINE void LoadRow(const std::byte* p, int64_t block_bytes, F32 (&w)[NB]) {
    INTAGLIO_UNROLL for (int b = 0; b < NB; ++b) w[b] = kOdd ? LoadBf16Odd(p + b * block_bytes) : LoadBf16Even(p + b * block_bytes);
  }

  template <int MR, int NB>
  static __attribute__((noinline)) void Tile(const TileInput& in, const Epilogue& epilogue) {
    F32 sums[MR][NB];
    INTAGLIO_UNROLL for (int r = 0; r < MR; ++r) {
      INTAGLIO_UNROLL for (int b = 0; b < NB; ++b) sums[r][b] = Zero();
    }
    const float* x = in.x;
    const std::byte* p = in.weights + in.first_k / 2 * 64;
    const int64_t block_bytes = in.block_bytes;
    int64_t k = in.first_k;
    F32 w[NB];
    if (k % 2 == 1 && k < in.last_k) {  // a border within a pair
      LoadRow<NB, true>(p, block_bytes, w);
      Accumulate<MR, NB>(sums, x, w);
      ++k, p += 64, x += MR;
    }
    for (; k + 2 <= in.last_k; k += 2, p += 64, x += 2 * MR) {
      if constexpr (kPrefetchBytes<MR, NB> > 0) {
        INTAGLIO_UNROLL for (int b = 0; b < NB; ++b) __builtin_prefetch(p + b * block_bytes + kPrefetchBytes<MR, NB>);
      }
      LoadRow<NB, false>(p, block_bytes, w);
      Accumulate<MR, NB>(sums, x, w);
      LoadRow<NB, true>(p, block_bytes, w);
      Accumulate<MR, NB>(sums, x + MR, w);
    }
    if (k < in.last_k) {
      LoadRow<NB, false>(p, block_bytes, w);
      Accumulate<MR, NB>(sums, x, w);
    }
    MergeSegment<MR, NB>(sums, epilogue);
  }
};

}  // namespace intaglio::kernels::INTAGLIO_ISA
