#include <cmath>

#include "harness.h"
#include "kernels/params.h"

namespace intaglio::kernels {
namespace {

constexpr uint32_t kSeed = 7;

KernelCall NormCall(const Matrix& out, const Matrix& x, const Matrix& weight, int64_t width) {
  KernelCall call = Call({out.tensor(), x.tensor(), weight.tensor()});
  call.params.ints[norm_params::kWidth] = width;
  call.params.floats[norm_params::kEps] = 1e-6f;
  return call;
}

class RmsNormWidths : public testing::TestWithParam<int64_t> {};

TEST_P(RmsNormWidths, MatchesDoubleInEveryRunOfARow) {
  const int64_t width = GetParam(), runs = 3;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937 random(kSeed);
  const Matrix x(4, runs * width, random), weight(1, width, random), out(4, runs * width);
  RunKernel("rms_norm", Isa::kScalar, NormCall(out, x, weight, width), {.num_rows = 4});
  for (int64_t r = 0; r < 4; ++r) {
    for (int64_t run = 0; run < runs; ++run) {
      const float* in = x.row(r) + run * width;
      double squares = 0;
      for (int64_t i = 0; i < width; ++i) squares += static_cast<double>(in[i]) * in[i];
      for (int64_t i = 0; i < width; ++i) {
        const double expected = in[i] / std::sqrt(squares / static_cast<double>(width) + 1e-6) * weight.row(0)[i];
        EXPECT_NEAR(out.row(r)[run * width + i], expected, 1e-6 * std::max(1.0, std::fabs(expected)));
      }
    }
  }
}

TEST_P(RmsNormWidths, GivesTheSameBitsAtEveryLevelAloneAndInPlace) {
  const int64_t width = GetParam(), cols = 3 * width;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937 random(kSeed);
  const Matrix x(5, cols, random), weight(1, width, random), expected(5, cols);
  RunKernel("rms_norm", Isa::kScalar, NormCall(expected, x, weight, width), {.num_rows = 5});
  for (Isa isa : SupportedIsas()) {
    const Matrix out(5, cols), in_place(5, cols);
    for (int64_t r = 0; r < 5; ++r) std::copy_n(x.row(r), cols, in_place.row(r));
    RunKernel("rms_norm", isa, NormCall(out, x, weight, width), {.num_rows = 5}, kSeed);
    RunKernel("rms_norm", isa, NormCall(in_place, in_place, weight, width), {.num_rows = 5});
    EXPECT_TRUE(SameBits(out, expected)) << Name(isa);
    EXPECT_TRUE(SameBits(in_place, expected)) << Name(isa);
    EXPECT_TRUE(out.HasIntactPadding()) << Name(isa);
  }
}

INSTANTIATE_TEST_SUITE_P(Widths, RmsNormWidths, testing::Values(1, 16, 24, 31, 64, 80, 256, 1000));

// Eight ranks' shares of a width, some of them empty: each summed by itself, then by the tree, so that ranks may take them apart.
TEST(RmsNorm, SumsTheSegmentsOfAWidthThatRanksShare) {
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937 random(kSeed);
  constexpr std::array<int64_t, kSegments + 1> kBorders{0, 24, 24, 48, 72, 96, 96, 96, 96};
  const Matrix x(3, 96, random), weight(1, 96, random), expected(3, 96);
  KernelCall call = NormCall(expected, x, weight, 96);
  std::copy(kBorders.begin(), kBorders.end(), call.params.ints.begin() + norm_params::kBorders);
  RunKernel("rms_norm", Isa::kScalar, call, {.num_rows = 3});
  for (int64_t r = 0; r < 3; ++r) {
    double squares = 0;
    for (int64_t i = 0; i < 96; ++i) squares += static_cast<double>(x.row(r)[i]) * x.row(r)[i];
    for (int64_t i = 0; i < 96; ++i) EXPECT_NEAR(expected.row(r)[i], x.row(r)[i] / std::sqrt(squares / 96 + 1e-6) * weight.row(0)[i], 2e-6);
  }
  for (Isa isa : SupportedIsas()) {
    const Matrix out(3, 96);
    call.operands[0] = out.tensor();
    RunKernel("rms_norm", isa, call, {.num_rows = 3}, kSeed);
    EXPECT_TRUE(SameBits(out, expected)) << Name(isa);
  }
  call.params.ints[norm_params::kBorders + 3] = 20;   // descends
  EXPECT_NE(FindKernel("rms_norm", Isa::kScalar)->check(call), nullptr);
  call.params.ints[norm_params::kBorders + kSegments] = 80;
  EXPECT_NE(FindKernel("rms_norm", Isa::kScalar)->check(call), nullptr);
}

TEST(RmsNorm, LeavesRowsThatAreNotLiveAlone) {
  std::mt19937 random(kSeed);
  const Matrix x(3, 32, random), weight(1, 32, random), out(3, 32);
  RunKernel("rms_norm", SupportedIsas().back(), NormCall(out, x, weight, 32), {.num_rows = 1});
  EXPECT_NE(out.row(0)[0], Matrix::kSentinel);
  EXPECT_EQ(out.row(1)[0], Matrix::kSentinel);
}

TEST(RmsNorm, FollowsOutputRowsWhereAsked) {
  std::mt19937 random(kSeed);
  const Matrix x(3, 32, random), weight(1, 32, random), out(3, 32);
  KernelCall call = NormCall(out, x, weight, 32);
  call.params.ints[kDomain] = static_cast<int64_t>(Domain::kOutputs);
  RunKernel("rms_norm", SupportedIsas().back(), call, {.num_rows = 1, .num_outputs = 2});
  EXPECT_NE(out.row(1)[0], Matrix::kSentinel);
  EXPECT_EQ(out.row(2)[0], Matrix::kSentinel);
}

TEST(RmsNorm, CheckRefusesWhatDoesNotFit) {
  const Kernel* kernel = FindKernel("rms_norm", Isa::kScalar);
  const Matrix x(2, 48), weight(1, 24), wide_weight(1, 48), out(2, 48), narrow(2, 32);
  EXPECT_EQ(kernel->check(NormCall(out, x, weight, 24)), nullptr);
  EXPECT_NE(kernel->check(NormCall(out, x, weight, 0)), nullptr);
  EXPECT_NE(kernel->check(NormCall(out, x, weight, -24)), nullptr);
  EXPECT_NE(kernel->check(NormCall(out, x, weight, 32)), nullptr);
  EXPECT_NE(kernel->check(NormCall(out, x, wide_weight, 24)), nullptr);
  EXPECT_NE(kernel->check(NormCall(narrow, x, weight, 24)), nullptr);
  KernelCall call = NormCall(out, x, weight, 24);
  call.operands[1].data = nullptr;
  EXPECT_NE(kernel->check(call), nullptr);
}

}  // namespace
}  // namespace intaglio::kernels
