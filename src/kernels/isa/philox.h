// Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011), on 16 counters at once.
#pragma once
#include "kernels/isa/math.h"

namespace intaglio::kernels::INTAGLIO_ISA {

struct PhiloxBlock {
  U32 word[4];
};

// The four words of each of 16 counters. The key is (low, high) half of a 64-bit number.
INTAGLIO_INLINE PhiloxBlock Philox(PhiloxBlock counter, uint64_t key) {
  uint32_t key0 = static_cast<uint32_t>(key), key1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    U32 high0, low0, high1, low1;
    MultiplyWide(counter.word[0], SetU32(0xd2511f53u), &high0, &low0);
    MultiplyWide(counter.word[2], SetU32(0xcd9e8d57u), &high1, &low1);
    counter = {{Xor(Xor(high1, counter.word[1]), SetU32(key0)), low1, Xor(Xor(high0, counter.word[3]), SetU32(key1)), low0}};
    key0 += 0x9e3779b9u;
    key1 += 0xbb67ae85u;
  }
  return counter;
}

// -log(1 - u) for u = (word + 1/2) / 2^32: exponentially distributed, positive, and as fine near zero as f32 is (the smallest numbers
// decide a race).
INTAGLIO_INLINE F32 Exponential(U32 word) {
  const F32 high = ToF32(ShiftRight<16>(word)), low = ToF32(And(word, SetU32(0xffffu)));
  const F32 u = Fma(high, Set(1.52587890625e-5f), Mul(Add(low, Set(0.5f)), Set(2.3283064365386963e-10f)));
  const F32 rest = Max(Sub(Set(1.0f), u), Set(2.3283064365386963e-10f));
  // log(1 - u) = log(rest) + (what rounding took from rest) / rest
  return Sub(Div(Sub(u, Sub(Set(1.0f), rest)), rest), Log(rest));
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
