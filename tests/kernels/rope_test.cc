#include <cmath>

#include "harness.h"
#include "kernels/params.h"

namespace intaglio::kernels {
namespace {

constexpr uint32_t kSeed = 11;
constexpr int64_t kRows = 5, kHeads = 3;
constexpr int32_t kPositions[kRows] = {0, 1, 7, 30, 31};
const StepView kStep{.num_rows = kRows, .positions = kPositions};

struct Dims {
  int64_t head_dim, rotary_dim, style;
};

KernelCall RopeCall(const Matrix& out, const Matrix& x, const Matrix& table, Dims dims) {
  KernelCall call = Call({out.tensor(), x.tensor(), table.tensor()});
  call.params.ints[rope_params::kHeadDim] = dims.head_dim;
  call.params.ints[rope_params::kRotaryDim] = dims.rotary_dim;
  call.params.ints[rope_params::kStyle] = dims.style;
  call.params.floats[rope_params::kEps] = 1e-6f;
  return call;
}

KernelCall NormRopeCall(const Matrix& out, const Matrix& x, const Matrix& table, const Matrix& weight, Dims dims) {
  KernelCall call = RopeCall(out, x, table, dims);
  call.operands[3] = weight.tensor();
  return call;
}

Matrix Table(int64_t rotary_dim) {
  Matrix table(32, rotary_dim);
  for (int64_t p = 0; p < 32; ++p) {
    for (int64_t i = 0; i < rotary_dim / 2; ++i) {
      const double angle = static_cast<double>(p) * std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(rotary_dim));
      table.row(p)[i] = static_cast<float>(std::cos(angle));
      table.row(p)[rotary_dim / 2 + i] = static_cast<float>(std::sin(angle));
    }
  }
  return table;
}

class RopeDims : public testing::TestWithParam<Dims> {};

TEST_P(RopeDims, MatchesDouble) {
  const Dims dims = GetParam();
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937 random(kSeed);
  const Matrix x(kRows, kHeads * dims.head_dim, random), out(kRows, kHeads * dims.head_dim), table = Table(dims.rotary_dim);
  RunKernel("rope", Isa::kScalar, RopeCall(out, x, table, dims), kStep);
  const int64_t half = dims.rotary_dim / 2;
  for (int64_t r = 0; r < kRows; ++r) {
    const float* angles = table.row(kPositions[r]);
    for (int64_t begin = 0; begin < x.cols(); begin += dims.head_dim) {
      const float *in = x.row(r) + begin, *y = out.row(r) + begin;
      for (int64_t i = 0; i < half; ++i) {
        const int64_t a = dims.style == 0 ? i : 2 * i, b = dims.style == 0 ? i + half : 2 * i + 1;
        EXPECT_NEAR(y[a], static_cast<double>(in[a]) * angles[i] - static_cast<double>(in[b]) * angles[half + i], 1e-6);
        EXPECT_NEAR(y[b], static_cast<double>(in[b]) * angles[i] + static_cast<double>(in[a]) * angles[half + i], 1e-6);
      }
      EXPECT_EQ(std::memcmp(y + dims.rotary_dim, in + dims.rotary_dim, static_cast<size_t>(dims.head_dim - dims.rotary_dim) * 4), 0);
    }
  }
}

TEST_P(RopeDims, GivesTheSameBitsAtEveryLevelAndInPlace) {
  const Dims dims = GetParam();
  const int64_t cols = kHeads * dims.head_dim;
  std::mt19937 random(kSeed);
  const Matrix x(kRows, cols, random), expected(kRows, cols), table = Table(dims.rotary_dim);
  RunKernel("rope", Isa::kScalar, RopeCall(expected, x, table, dims), kStep);
  for (Isa isa : SupportedIsas()) {
    const Matrix out(kRows, cols), in_place(kRows, cols);
    for (int64_t r = 0; r < kRows; ++r) std::copy_n(x.row(r), cols, in_place.row(r));
    RunKernel("rope", isa, RopeCall(out, x, table, dims), kStep, kSeed);
    RunKernel("rope", isa, RopeCall(in_place, in_place, table, dims), kStep);
    EXPECT_TRUE(SameBits(out, expected)) << Name(isa);
    EXPECT_TRUE(SameBits(in_place, expected)) << Name(isa);
    EXPECT_TRUE(out.HasIntactPadding()) << Name(isa);
  }
}

TEST_P(RopeDims, NormRopeIsNormThenRope) {
  const Dims dims = GetParam();
  const int64_t cols = kHeads * dims.head_dim;
  std::mt19937 random(kSeed);
  const Matrix x(kRows, cols, random), weight(1, dims.head_dim, random), table = Table(dims.rotary_dim);
  for (Isa isa : SupportedIsas()) {
    const Matrix normed(kRows, cols), expected(kRows, cols), out(kRows, cols);
    KernelCall norm = Call({normed.tensor(), x.tensor(), weight.tensor()});
    norm.params.ints[norm_params::kWidth] = dims.head_dim;
    norm.params.floats[norm_params::kEps] = 1e-6f;
    RunKernel("rms_norm", isa, norm, kStep);
    RunKernel("rope", isa, RopeCall(expected, normed, table, dims), kStep);
    RunKernel("norm_rope", isa, NormRopeCall(out, x, table, weight, dims), kStep);
    EXPECT_TRUE(SameBits(out, expected)) << Name(isa);
  }
}

INSTANTIATE_TEST_SUITE_P(Dims, RopeDims,
                         testing::Values(Dims{16, 16, 0}, Dims{24, 24, 0}, Dims{64, 64, 0}, Dims{80, 60, 0}, Dims{256, 256, 0}, Dims{64, 16, 0},
                                         Dims{24, 24, 1}, Dims{64, 48, 1}));

TEST(Rope, CheckRefusesWhatDoesNotFit) {
  const Kernel* kernel = FindKernel("rope", Isa::kScalar);
  const Matrix x(2, 48), out(2, 48), table = Table(24);
  EXPECT_EQ(kernel->check(RopeCall(out, x, table, {24, 24, 0})), nullptr);
  EXPECT_NE(kernel->check(RopeCall(out, x, table, {0, 24, 0})), nullptr);
  EXPECT_NE(kernel->check(RopeCall(out, x, table, {32, 24, 0})), nullptr);
  EXPECT_NE(kernel->check(RopeCall(out, x, table, {24, 23, 0})), nullptr);
  EXPECT_NE(kernel->check(RopeCall(out, x, table, {16, 24, 0})), nullptr);
  EXPECT_NE(kernel->check(RopeCall(out, x, table, {24, 24, 2})), nullptr);
  EXPECT_NE(kernel->check(RopeCall(out, x, Table(16), {24, 24, 0})), nullptr);
  for (const int index : {kDomain, kRowMultiple}) {   // positions are those of the step's rows
    KernelCall call = RopeCall(out, x, table, {24, 24, 0});
    call.params.ints[static_cast<size_t>(index)] = index == kDomain ? 1 : 2;
    EXPECT_NE(kernel->check(call), nullptr);
  }
}

TEST(NormRope, CheckRefusesAWeightOfAnotherWidth) {
  const Kernel* kernel = FindKernel("norm_rope", Isa::kScalar);
  const Matrix x(2, 48), out(2, 48), table = Table(24), weight(1, 24), wide(1, 48);
  EXPECT_EQ(kernel->check(NormRopeCall(out, x, table, weight, {24, 24, 0})), nullptr);
  EXPECT_NE(kernel->check(NormRopeCall(out, x, table, wide, {24, 24, 0})), nullptr);
  EXPECT_NE(kernel->check(RopeCall(out, x, table, {24, 24, 0})), nullptr);   // no weight at all
}

}  // namespace
}  // namespace intaglio::kernels
