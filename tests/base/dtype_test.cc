#include "base/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace intaglio {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

uint32_t Bits(float value) { return std::bit_cast<uint32_t>(value); }

// Written from the definition: sign, exponent and mantissa as numbers.
float F16ByDefinition(uint16_t bits) {
  const int sign = bits >> 15 != 0 ? -1 : 1, exponent = bits >> 10 & 31, mantissa = bits & 1023;
  if (exponent == 31) return mantissa == 0 ? static_cast<float>(sign) * kInfinity : std::numeric_limits<float>::quiet_NaN();
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return std::copysign(static_cast<float>(magnitude), static_cast<float>(sign));
}

TEST(DType, NamesLeadBackToTheirType) {
  for (int i = 0; i <= static_cast<int>(DType::kI16); ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(DTypeFromName(Name(dtype)), dtype);
  }
  EXPECT_EQ(DTypeFromName("float32"), std::nullopt);
}

TEST(F16, EveryBitPatternHasTheValueOfItsDefinition) {
  for (uint32_t bits = 0; bits < 1 << 16; ++bits) {
    const float value = F16ToF32(static_cast<uint16_t>(bits)), expected = F16ByDefinition(static_cast<uint16_t>(bits));
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(value)) << bits;
    } else {
      EXPECT_EQ(Bits(value), Bits(expected)) << bits;
    }
  }
}

TEST(F16, EveryBitPatternSurvivesWideningAndRounding) {
  for (uint32_t bits = 0; bits < 1 << 16; ++bits) {
    const float value = F16ToF32(static_cast<uint16_t>(bits));
    const uint16_t back = F32ToF16(value);
    ASSERT_TRUE(std::isnan(value) ? std::isnan(F16ToF32(back)) : back == bits) << bits;
  }
}

TEST(F16, RoundsToTheNearestAndTiesToEven) {
  constexpr uint32_t kInfinityBits = 0x7c00;
  for (uint32_t bits = 0; bits < kInfinityBits; ++bits) {
    const float below = F16ToF32(static_cast<uint16_t>(bits)),
                above = bits + 1 == kInfinityBits ? 65536.0f : F16ToF32(static_cast<uint16_t>(bits + 1));
    const float middle = (below + above) / 2;
    ASSERT_EQ(F32ToF16(middle), bits + bits % 2) << bits;
    ASSERT_EQ(F32ToF16(std::nextafter(middle, 0.0f)), bits) << bits;
    ASSERT_EQ(F32ToF16(-std::nextafter(middle, kInfinity)), (bits + 1) | 0x8000u) << bits;
  }
  EXPECT_EQ(F32ToF16(std::numeric_limits<float>::max()), kInfinityBits);
}

TEST(Bf16, EveryBitPatternSurvivesWideningAndRounding) {
  for (uint32_t bits = 0; bits < 1 << 16; ++bits) {
    const float value = Bf16ToF32(static_cast<uint16_t>(bits));
    const uint16_t back = F32ToBf16(value);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(Bf16ToF32(back))) << bits;
    } else {
      EXPECT_EQ(back, bits);
    }
  }
}

TEST(Bf16, RoundsTiesToEven) {
  EXPECT_EQ(F32ToBf16(std::bit_cast<float>(0x3f808000u)), 0x3f80);  // halfway above an even number: down
  EXPECT_EQ(F32ToBf16(std::bit_cast<float>(0x3f818000u)), 0x3f82);  // halfway above an odd number: up
  EXPECT_EQ(F32ToBf16(std::bit_cast<float>(0x3f808001u)), 0x3f81);  // just above halfway: up
  EXPECT_EQ(F32ToBf16(std::bit_cast<float>(0x3f80ffffu)), 0x3f81);
}

TEST(Bf16, RoundsTheLargestNumbersToInfinity) {
  EXPECT_EQ(Bf16ToF32(F32ToBf16(std::numeric_limits<float>::max())), kInfinity);
  EXPECT_EQ(Bf16ToF32(F32ToBf16(-std::numeric_limits<float>::max())), -kInfinity);
}

TEST(Mxfp4, ElementsAreThoseOfTheFormat) {
  constexpr float kPositive[] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
  for (uint8_t bits = 0; bits < 8; ++bits) {
    EXPECT_EQ(Mxfp4ToF32(bits, 127), kPositive[bits]);
    EXPECT_EQ(Mxfp4ToF32(bits | 8u, 127), -kPositive[bits]);
    EXPECT_EQ(Mxfp4ToF32(bits, 130), 8 * kPositive[bits]);
    EXPECT_EQ(Mxfp4ToF32(bits, 0), std::ldexp(kPositive[bits], -127));
    EXPECT_TRUE(std::isnan(Mxfp4ToF32(bits, 255)));
  }
  EXPECT_TRUE(std::signbit(Mxfp4ToF32(8, 127)));
}

TEST(Bf16, KeepsNanWhosePayloadIsInTheLowerHalf) { EXPECT_TRUE(std::isnan(Bf16ToF32(F32ToBf16(std::bit_cast<float>(0x7f800001u))))); }

}  // namespace
}  // namespace intaglio
