#include "checkpoint/gguf_quantized.h"

#include <cstddef>

#include "base/assert.h"
#include "checkpoint/gguf_blocks.h"

namespace intaglio::checkpoint {
namespace {

// Where the numbers of one block go.
struct BlockNumbers {
  uint8_t* q;
  float *d, *m;
  uint8_t *s, *t;
};

void TakeApart(const BlockQ8_0& block, const BlockNumbers& out) {
  *out.d = Widen(block.d);
  for (int i = 0; i < kSmallBlock; ++i) out.q[i] = static_cast<uint8_t>(block.quants[i] + 128);
}

// The low nibbles are elements 0-15, the high ones 16-31.
void TakeNibbles(const uint8_t (&quants)[16], uint8_t* q) {
  for (int i = 0; i < 16; ++i) q[i] = quants[i] & 15, q[i + 16] = quants[i] >> 4;
}

void AddFifthBits(const uint8_t (&high)[4], uint8_t* q) {
  const FifthBits fifth(high);
  for (int i = 0; i < 16; ++i) q[i] = static_cast<uint8_t>(q[i] | fifth.low(i)), q[i + 16] = static_cast<uint8_t>(q[i + 16] | fifth.high(i));
}

void TakeApart(const BlockQ4_0& block, const BlockNumbers& out) {
  *out.d = Widen(block.d);
  TakeNibbles(block.quants, out.q);
}

void TakeApart(const BlockQ4_1& block, const BlockNumbers& out) {
  *out.d = Widen(block.d), *out.m = Widen(block.m);
  TakeNibbles(block.quants, out.q);
}

void TakeApart(const BlockQ5_0& block, const BlockNumbers& out) {
  *out.d = Widen(block.d);
  TakeNibbles(block.quants, out.q);
  AddFifthBits(block.high, out.q);
}

void TakeApart(const BlockQ5_1& block, const BlockNumbers& out) {
  *out.d = Widen(block.d), *out.m = Widen(block.m);
  TakeNibbles(block.quants, out.q);
  AddFifthBits(block.high, out.q);
}

// Quants of Q2_K and Q3_K: two halves of 128, in which 32 bytes hold elements 32 apart.
void TakePairsOfBits(const uint8_t (&quants)[64], uint8_t* q) {
  for (int part = 0; part < 8; ++part) {
    for (int i = 0; i < 32; ++i) q[32 * part + i] = quants[32 * (part / 4) + i] >> 2 * (part % 4) & 3;
  }
}

void TakeApart(const BlockQ2K& block, const BlockNumbers& out) {
  *out.d = Widen(block.d), *out.m = Widen(block.dmin);
  for (int group = 0; group < 16; ++group) out.s[group] = block.scales[group] & 15, out.t[group] = block.scales[group] >> 4;
  TakePairsOfBits(block.quants, out.q);
}

void TakeApart(const BlockQ3K& block, const BlockNumbers& out) {
  *out.d = Widen(block.d);
  for (int group = 0; group < 16; ++group) {
    const int low = block.scales[group % 8] >> (group < 8 ? 0 : 4) & 15, high = block.scales[8 + group % 4] >> 2 * (group / 4) & 3;
    out.s[group] = static_cast<uint8_t>((low | high << 4) - 32);
  }
  TakePairsOfBits(block.quants, out.q);
  for (int part = 0; part < 8; ++part) {
    for (int i = 0; i < 32; ++i) out.q[32 * part + i] = static_cast<uint8_t>(out.q[32 * part + i] | (block.high[i] >> part & 1) << 2);
  }
}

void TakeSixBits(const uint8_t (&scales)[12], const BlockNumbers& out) {
  for (int group = 0; group < 8; ++group) {
    const auto [scale, min] = SixBits(scales, group);
    out.s[group] = static_cast<uint8_t>(scale), out.t[group] = static_cast<uint8_t>(min);
  }
}

// Two neighbouring groups of 32 share 32 bytes.
void TakeGroupNibbles(const uint8_t (&quants)[128], uint8_t* q) {
  for (int pair = 0; pair < 4; ++pair) {
    for (int i = 0; i < 32; ++i) {
      const uint8_t byte = quants[32 * pair + i];
      q[64 * pair + i] = byte & 15, q[64 * pair + 32 + i] = byte >> 4;
    }
  }
}

void TakeApart(const BlockQ4K& block, const BlockNumbers& out) {
  *out.d = Widen(block.d), *out.m = Widen(block.dmin);
  TakeSixBits(block.scales, out);
  TakeGroupNibbles(block.quants, out.q);
}

void TakeApart(const BlockQ5K& block, const BlockNumbers& out) {
  *out.d = Widen(block.d), *out.m = Widen(block.dmin);
  TakeSixBits(block.scales, out);
  TakeGroupNibbles(block.quants, out.q);
  for (int group = 0; group < 8; ++group) {
    for (int i = 0; i < 32; ++i) out.q[32 * group + i] = static_cast<uint8_t>(out.q[32 * group + i] | (block.high[i] >> group & 1) << 4);
  }
}

void TakeApart(const BlockQ6K& block, const BlockNumbers& out) {
  *out.d = Widen(block.d);
  for (int group = 0; group < 16; ++group) out.s[group] = static_cast<uint8_t>(block.scales[group]);
  for (int part = 0; part < 8; ++part) {
    const int half = part / 4, quarter = part % 4;
    for (int i = 0; i < 32; ++i) {
      const int low = block.low[64 * half + 32 * (quarter % 2) + i] >> 4 * (quarter / 2) & 15, high = block.high[32 * half + i] >> 2 * quarter & 3;
      out.q[32 * part + i] = static_cast<uint8_t>(low | high << 4);
    }
  }
}

// The numbers of a block beside its quants.
struct Counts {
  size_t minima, scales_of_groups, minima_of_groups;
};

template <typename Block>
void AppendAll(std::span<const std::byte> bytes, size_t block_elements, const Counts& counts, QuantizedRows& rows) {
  static_assert(alignof(Block) == 1);
  const auto* blocks = reinterpret_cast<const Block*>(bytes.data());
  const size_t count = bytes.size() / sizeof(Block), q = rows.q.size(), d = rows.d.size(), m = rows.m.size(), s = rows.s.size(), t = rows.t.size();
  rows.q.resize(q + count * block_elements);
  rows.d.resize(d + count);
  rows.m.resize(m + count * counts.minima);
  rows.s.resize(s + count * counts.scales_of_groups);
  rows.t.resize(t + count * counts.minima_of_groups);
  for (size_t i = 0; i < count; ++i) {
    TakeApart(blocks[i], {.q = rows.q.data() + q + i * block_elements,
                          .d = rows.d.data() + d + i,
                          .m = rows.m.data() + m + i * counts.minima,
                          .s = rows.s.data() + s + i * counts.scales_of_groups,
                          .t = rows.t.data() + t + i * counts.minima_of_groups});
  }
}

}  // namespace

std::optional<DType> QuantizedType(GgmlType type) {
  switch (type) {
    case GgmlType::kF32:
    case GgmlType::kF16:
    case GgmlType::kBF16:
      return std::nullopt;
    case GgmlType::kQ4_0:
      return DType::kQ4_0;
    case GgmlType::kQ4_1:
      return DType::kQ4_1;
    case GgmlType::kQ5_0:
      return DType::kQ5_0;
    case GgmlType::kQ5_1:
      return DType::kQ5_1;
    case GgmlType::kQ8_0:
      return DType::kQ8_0;
    case GgmlType::kQ2_K:
      return DType::kQ2_K;
    case GgmlType::kQ3_K:
      return DType::kQ3_K;
    case GgmlType::kQ4_K:
      return DType::kQ4_K;
    case GgmlType::kQ5_K:
      return DType::kQ5_K;
    case GgmlType::kQ6_K:
      return DType::kQ6_K;
  }
  return std::nullopt;
}

void AppendBlocks(GgmlType type, std::span<const std::byte> blocks, QuantizedRows& rows) {
  switch (type) {
    case GgmlType::kF32:
    case GgmlType::kF16:
    case GgmlType::kBF16:
      Assert(false);
      return;
    case GgmlType::kQ4_0:
      return AppendAll<BlockQ4_0>(blocks, kSmallBlock, {}, rows);
    case GgmlType::kQ4_1:
      return AppendAll<BlockQ4_1>(blocks, kSmallBlock, {.minima = 1}, rows);
    case GgmlType::kQ5_0:
      return AppendAll<BlockQ5_0>(blocks, kSmallBlock, {}, rows);
    case GgmlType::kQ5_1:
      return AppendAll<BlockQ5_1>(blocks, kSmallBlock, {.minima = 1}, rows);
    case GgmlType::kQ8_0:
      return AppendAll<BlockQ8_0>(blocks, kSmallBlock, {}, rows);
    case GgmlType::kQ2_K:
      return AppendAll<BlockQ2K>(blocks, kSuperBlock, {.minima = 1, .scales_of_groups = 16, .minima_of_groups = 16}, rows);
    case GgmlType::kQ3_K:
      return AppendAll<BlockQ3K>(blocks, kSuperBlock, {.scales_of_groups = 16}, rows);
    case GgmlType::kQ4_K:
      return AppendAll<BlockQ4K>(blocks, kSuperBlock, {.minima = 1, .scales_of_groups = 8, .minima_of_groups = 8}, rows);
    case GgmlType::kQ5_K:
      return AppendAll<BlockQ5K>(blocks, kSuperBlock, {.minima = 1, .scales_of_groups = 8, .minima_of_groups = 8}, rows);
    case GgmlType::kQ6_K:
      return AppendAll<BlockQ6K>(blocks, kSuperBlock, {.scales_of_groups = 16}, rows);
  }
}

}  // namespace intaglio::checkpoint
