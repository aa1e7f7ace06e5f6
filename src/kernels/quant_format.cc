#include "kernels/quant_format.h"

#include <cmath>
#include <cstring>

#include "kernels/kernel.h"

namespace intaglio::kernels {
namespace {

constexpr int64_t kLineBytes = 64, kStepK = 4, kBundleK = 32;   // k whose base lines stand together, before their higher bits

uint8_t ByteAt(const std::byte* p, int64_t index) { return static_cast<uint8_t>(p[index]); }

// `bits` bits of element k of a run whose lines of so many bits begin at `lines`.
int BitsAt(const std::byte* lines, int bits, int64_t lane, int64_t k) {
  const int64_t step = k / kStepK, steps_per_line = 8 / bits, line = step / steps_per_line, byte = lane * kStepK + k % kStepK;
  const int shift = static_cast<int>(step % steps_per_line) * bits;
  return (ByteAt(lines + line * kLineBytes, byte) >> shift) & ((1 << bits) - 1);
}

int QuantAt(const QuantFormat& format, const std::byte* quants, int64_t lane, int64_t k) {
  if (format.bits == 8 || format.bits == 4 || format.bits == 2) return BitsAt(quants, format.bits, lane, k);
  const int base = format.bits > 4 ? 4 : 2, higher = format.bits - base;
  const std::byte* bundle = quants + k / kBundleK * format.bits * kLineBytes;
  return BitsAt(bundle + higher * kLineBytes, base, lane, k % kBundleK) | BitsAt(bundle, higher, lane, k % kBundleK) << base;
}

float F16At(const std::byte* p, int64_t index) {
  uint16_t bits = 0;
  std::memcpy(&bits, p + index * static_cast<int64_t>(sizeof bits), sizeof bits);
  return F16ToF32(bits);
}

float F32At(const std::byte* p, int64_t index) {
  float value = 0;
  std::memcpy(&value, p + index * static_cast<int64_t>(sizeof value), sizeof value);
  return value;
}

}  // namespace

float UnpackQuantized(DType dtype, const std::byte* block, int64_t lane, int64_t k) {
  const QuantFormat& format = FormatOf(dtype);
  const std::byte* header = block + k / format.unit_k * format.unit_bytes();
  k %= format.unit_k;
  const int q = QuantAt(format, header + format.header_lines * kLineBytes, lane, k);
  const int64_t group = k / format.group_k;
  const std::byte* subs = header + kLineBytes;
  switch (format.header) {
    case QuantHeader::kPairF16:
      return F16At(header, group * kLanes + lane) * static_cast<float>(q - format.zero);
    case QuantHeader::kF32:
      return F32At(header, lane) * static_cast<float>(q - format.zero);
    case QuantHeader::kF16Min:
      return F16At(header, lane) * static_cast<float>(q) + F16At(header, kLanes + lane);
    case QuantHeader::kSubMin8: {
      const int64_t at = group * 2 * kLanes + lane;
      const float scale = F16At(header, lane) * static_cast<float>(ByteAt(subs, at));
      const float minimum = F16At(header, kLanes + lane) * static_cast<float>(ByteAt(subs, at + kLanes));
      return scale * static_cast<float>(q) - minimum;
    }
    case QuantHeader::kSubMin16: {
      const uint8_t sub = ByteAt(subs, group * kLanes + lane);
      const float scale = F16At(header, lane) * static_cast<float>(sub & 15), minimum = F16At(header, kLanes + lane) * static_cast<float>(sub >> 4);
      return scale * static_cast<float>(q) - minimum;
    }
    case QuantHeader::kSub16:
      return F32At(header, lane) * static_cast<float>(static_cast<int8_t>(ByteAt(subs, group * kLanes + lane))) * static_cast<float>(q - format.zero);
    case QuantHeader::kExponent:
      return Mxfp4ToF32(static_cast<uint8_t>(q), ByteAt(header, group * kLanes + lane));
  }
  return 0;
}

}  // namespace intaglio::kernels
