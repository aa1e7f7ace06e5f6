#include <algorithm>
#include <cstring>

#include "base/assert.h"
#include "kernels/kernel.h"
#include "kernels/pack.h"
#include "kernels/quant_format.h"

namespace intaglio::kernels {
namespace {

constexpr int64_t kLineBytes = 64, kStepK = 4, kBundleK = 32;   // k whose base lines stand together, after their higher bits

// A line of `kBits` bits of q, from bit `from` on: those of 32 / kBits k, in each lane four k a step.
template <int kBits>
void PackLine(const QuantizedRows& rows, int64_t k, int from, std::byte* line) {
  constexpr uint32_t kMask = ((1u << kBits) - 1) * 0x01010101u;
  for (int64_t row = 0; row < rows.num_rows; ++row) {
    const uint8_t* q = rows.q.data() + row * rows.k + k;
    uint32_t packed = 0;
    for (int step = 0; step < 8 / kBits; ++step) {
      uint32_t four = 0;
      std::memcpy(&four, q + step * kStepK, sizeof four);
      packed |= (four >> from & kMask) << kBits * step;
    }
    std::memcpy(line + row * kStepK, &packed, sizeof packed);
  }
}

// kBits lines of 32 k.
template <int kBits>
std::byte* PackLines(const QuantizedRows& rows, int64_t k, int from, std::byte* lines) {
  for (int64_t line = 0; line < kBits; ++line, lines += kLineBytes) PackLine<kBits>(rows, k + line * kBundleK / kBits, from, lines);
  return lines;
}

std::byte* PackBundle(int bits, const QuantizedRows& rows, int64_t k, std::byte* lines) {
  switch (bits) {
    case 2:
      return PackLines<2>(rows, k, 0, lines);
    case 3:
      return PackLines<2>(rows, k, 0, PackLines<1>(rows, k, 2, lines));
    case 4:
      return PackLines<4>(rows, k, 0, lines);
    case 5:
      return PackLines<4>(rows, k, 0, PackLines<1>(rows, k, 4, lines));
    case 6:
      return PackLines<4>(rows, k, 0, PackLines<2>(rows, k, 4, lines));
    default:
      return PackLines<8>(rows, k, 0, lines);
  }
}

// The numbers of one unit beside its quants.
class Header {
 public:
  Header(const QuantFormat& format, const QuantizedRows& rows, int64_t unit, std::byte* bytes)
      : format_(format), rows_(rows), unit_(unit), bytes_(bytes) {}

  void Pack() const {
    switch (format_.header) {
      case QuantHeader::kPairF16:
        return ForEachGroup([&](int64_t row, int64_t group, int64_t at) { PutF16(group * kLanes + row, rows_.d[Index(at)]); });
      case QuantHeader::kF32:
        return ForEachRow([&](int64_t row, int64_t at) { PutF32(row, rows_.d[Index(at)]); });
      case QuantHeader::kF16Min:
        return PackScaleAndMin();
      case QuantHeader::kSubMin8:
        PackScaleAndMin();
        return ForEachGroup([&](int64_t row, int64_t group, int64_t at) {
          PutByte(kLineBytes + group * 2 * kLanes + row, rows_.s[Index(at)]);
          PutByte(kLineBytes + (group * 2 + 1) * kLanes + row, rows_.t[Index(at)]);
        });
      case QuantHeader::kSubMin16:
        PackScaleAndMin();
        return ForEachGroup([&](int64_t row, int64_t group, int64_t at) {
          PutByte(kLineBytes + group * kLanes + row, static_cast<uint8_t>(rows_.s[Index(at)] | rows_.t[Index(at)] << 4));
        });
      case QuantHeader::kSub16:
        ForEachRow([&](int64_t row, int64_t at) { PutF32(row, rows_.d[Index(at)]); });
        return ForEachGroup([&](int64_t row, int64_t group, int64_t at) { PutByte(kLineBytes + group * kLanes + row, rows_.s[Index(at)]); });
      case QuantHeader::kExponent:
        return ForEachGroup([&](int64_t row, int64_t group, int64_t at) { PutByte(group * kLanes + row, rows_.s[Index(at)]); });
    }
  }

 private:
  static size_t Index(int64_t at) { return static_cast<size_t>(at); }

  // visit(row, index into what a unit has once)
  template <typename Visit>
  void ForEachRow(const Visit& visit) const {
    const int64_t units = format_.num_units(rows_.k);
    for (int64_t row = 0; row < rows_.num_rows; ++row) visit(row, row * units + unit_);
  }
  // visit(row, group of the unit, index into what a group has once), for groups that exist
  template <typename Visit>
  void ForEachGroup(const Visit& visit) const {
    const int64_t groups = rows_.k / format_.group_k, of_unit = format_.unit_k / format_.group_k, first = unit_ * of_unit;
    for (int64_t row = 0; row < rows_.num_rows; ++row) {
      for (int64_t group = 0; group < of_unit && first + group < groups; ++group) visit(row, group, row * groups + first + group);
    }
  }
  void PackScaleAndMin() const {
    ForEachRow([&](int64_t row, int64_t at) {
      PutF16(row, rows_.d[Index(at)]);
      PutF16(kLanes + row, rows_.m[Index(at)]);
    });
  }
  void PutByte(int64_t index, uint8_t value) const { bytes_[index] = std::byte{value}; }
  void PutF16(int64_t index, float value) const {
    const uint16_t bits = F32ToF16(value);
    std::memcpy(bytes_ + index * static_cast<int64_t>(sizeof bits), &bits, sizeof bits);
  }
  void PutF32(int64_t index, float value) const { std::memcpy(bytes_ + index * static_cast<int64_t>(sizeof value), &value, sizeof value); }

  const QuantFormat& format_;
  const QuantizedRows& rows_;
  const int64_t unit_;
  std::byte* const bytes_;
};

}  // namespace

void PackQuantizedBlock(DType dtype, const QuantizedRows& rows, std::span<std::byte> block) {
  const QuantFormat& format = FormatOf(dtype);
  Assert(rows.num_rows >= 1 && rows.num_rows <= kLanes && rows.k % format.group_k == 0 && std::ssize(block) == PackedBlockBytes(rows.k, dtype));
  if (rows.num_rows < kLanes || rows.k % format.unit_k != 0) std::memset(block.data(), 0, block.size());
  std::byte* lines = block.data();
  for (int64_t unit = 0; unit < format.num_units(rows.k); ++unit, lines += format.unit_bytes()) {
    Header(format, rows, unit, lines).Pack();
    std::byte* quants = lines + format.header_lines * kLineBytes;
    const int64_t end = std::min(rows.k, (unit + 1) * format.unit_k);
    for (int64_t k = unit * format.unit_k; k < end; k += kBundleK) quants = PackBundle(format.bits, rows, k, quants);
  }
}

}  // namespace intaglio::kernels
