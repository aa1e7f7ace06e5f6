// The kernels of models that embed: each against double, at every level by memcmp, a row alone and among others.
#include <cmath>

#include "harness.h"
#include "kernels/params.h"

namespace intaglio::kernels {
namespace {

constexpr int64_t kWidths[] = {1, 15, 16, 17, 64, 100, 384};
constexpr int32_t kPositions[] = {0, 1, 2, 0, 1, 0};   // sequences of three, two and one rows
constexpr int32_t kSlots[] = {4, 4, 4, 1, 1, 2};
constexpr int32_t kEnds[] = {2, 4, 5};
const StepView kStep{.num_rows = 6, .num_outputs = 3, .positions = kPositions, .slots = kSlots, .output_rows = kEnds};

struct Operands {
  Matrix x, weight, bias, table;
  explicit Operands(int64_t width, uint32_t seed = 5) : Operands(width, std::mt19937(seed)) {}

 private:
  Operands(int64_t width, std::mt19937 random) : x(6, width, random), weight(1, width, random), bias(1, width, random), table(3, width, random) {}
};

KernelCall LayerNormCall(const Matrix& out, const Operands& in, float eps) {
  KernelCall call = Call({out.tensor(), in.x.tensor(), in.weight.tensor(), in.bias.tensor()});
  call.params.floats[layer_norm_params::kEps] = eps;
  return call;
}

KernelCall PoolCall(const Matrix& out, const Matrix& x, int64_t mode) {
  KernelCall call = Call({out.tensor(), x.tensor()});
  call.params.ints[kDomain] = static_cast<int64_t>(Domain::kOutputs);
  call.params.ints[pool_params::kMode] = mode;
  return call;
}

// Runs `make(out)` at the scalar level into `out`, and requires the same bits of every other level and intact padding.
template <typename Make>
void RunAtEveryLevel(std::string_view kernel, const Matrix& out, const Make& make) {
  RunKernel(kernel, Isa::kScalar, make(out), kStep);
  EXPECT_TRUE(out.HasIntactPadding());
  for (Isa isa : SupportedIsas()) {
    const Matrix other(out.rows(), out.cols());
    RunKernel(kernel, isa, make(other), kStep, 3);
    EXPECT_TRUE(SameBits(out, other)) << kernel << ' ' << Name(isa);
    EXPECT_TRUE(other.HasIntactPadding());
  }
}

TEST(LayerNorm, MatchesDoubleWithTheSameBitsAtEveryLevel) {
  for (int64_t width : kWidths) {
    const Operands in(width);
    const Matrix out(6, width);
    RunAtEveryLevel("layer_norm", out, [&](const Matrix& m) { return LayerNormCall(m, in, 1e-5f); });
    for (int64_t r = 0; r < 6; ++r) {
      double mean = 0, variance = 0;
      for (int64_t i = 0; i < width; ++i) mean += static_cast<double>(in.x.row(r)[i]) / static_cast<double>(width);
      for (int64_t i = 0; i < width; ++i) variance += std::pow(in.x.row(r)[i] - mean, 2) / static_cast<double>(width);
      for (int64_t i = 0; i < width; ++i) {
        const double expected = (in.x.row(r)[i] - mean) / std::sqrt(variance + 1e-5f) * in.weight.row(0)[i] + in.bias.row(0)[i];
        EXPECT_NEAR(out.row(r)[i], expected, 3e-6) << width << " columns, row " << r << ", column " << i;
      }
    }
  }
}

TEST(LayerNorm, KeepsItsDigitsFarFromZero) {
  const Operands in(384);
  for (int64_t i = 0; i < 384; ++i) in.x.row(0)[i] = 4096.0f + static_cast<float>(i % 2);   // deviations of exactly one half
  const Matrix out(6, 384);
  RunKernel("layer_norm", SupportedIsas().back(), LayerNormCall(out, in, 1e-12f), kStep);
  for (int64_t i = 0; i < 384; ++i) {
    const float expected = in.weight.row(0)[i] * (i % 2 == 0 ? -1.0f : 1.0f) + in.bias.row(0)[i];
    EXPECT_NEAR(out.row(0)[i], expected, 1e-6);
  }
}

TEST(LayerNorm, MayWriteOverItsInput) {
  const Operands in(100), same(100);
  const Matrix out(6, 100);
  RunKernel("layer_norm", SupportedIsas().back(), LayerNormCall(out, in, 1e-12f), kStep);
  RunKernel("layer_norm", SupportedIsas().back(), LayerNormCall(same.x, same, 1e-12f), kStep);
  EXPECT_TRUE(SameBits(out, same.x));
}

TEST(Gelu, MatchesDoubleWithTheSameBitsAtEveryLevel) {
  constexpr int64_t kCols = 4001;
  const Matrix x(1, kCols), out(1, kCols);
  for (int64_t i = 0; i < kCols; ++i) x.row(0)[i] = static_cast<float>(i - 2000) * 0.0049f;   // -9.8 to 9.8
  const StepView step{.num_rows = 1};
  RunKernel("gelu", Isa::kScalar, Call({out.tensor(), x.tensor()}), step);
  double worst = 0, worst_relative = 0;
  for (int64_t i = 0; i < kCols; ++i) {
    const double v = x.row(0)[i], expected = v / 2 * std::erfc(-v / std::sqrt(2.0)), error = std::fabs(out.row(0)[i] - expected);
    worst = std::max(worst, error);
    if (v > -5 && v != 0) worst_relative = std::max(worst_relative, error / std::fabs(expected));
  }
  EXPECT_LE(worst, 5e-7);            // half a unit of the last place of 8, where gelu(x) is x
  EXPECT_LE(worst_relative, 2e-6);   // that of rounding x / sqrt(2), squared in an exponent
  for (Isa isa : SupportedIsas()) {
    const Matrix other(1, kCols);
    RunKernel("gelu", isa, Call({other.tensor(), x.tensor()}), step);
    EXPECT_TRUE(SameBits(out, other)) << Name(isa);
  }
}

TEST(Gelu, IsItsArgumentOrZeroAtTheEnds) {
  const Matrix x(1, 6), out(1, 6);
  const float ends[] = {0.0f, 1e30f, -1e30f, 100.0f, -100.0f, std::numeric_limits<float>::infinity()};
  std::copy_n(ends, 6, x.row(0));
  RunKernel("gelu", SupportedIsas().back(), Call({out.tensor(), x.tensor()}), {.num_rows = 1});
  for (int i : {0, 1, 3, 5}) EXPECT_EQ(out.row(0)[i], ends[i]);
  for (int i : {2, 4}) EXPECT_EQ(out.row(0)[i], 0.0f);
}

TEST(TanhRow, MatchesDoubleWithTheSameBitsAtEveryLevel) {
  const Operands in(100);
  const Matrix out(6, 100);
  RunAtEveryLevel("tanh", out, [&](const Matrix& m) { return Call({m.tensor(), in.x.tensor()}); });
  for (int64_t i = 0; i < 100; ++i) EXPECT_NEAR(out.row(5)[i], std::tanh(static_cast<double>(in.x.row(5)[i])), 2e-7);
}

TEST(UnitNorm, MakesRowsOfLengthOneWithTheSameBitsAtEveryLevel) {
  for (int64_t width : kWidths) {
    const Operands in(width);
    const Matrix out(6, width);
    RunAtEveryLevel("unit_norm", out, [&](const Matrix& m) { return Call({m.tensor(), in.x.tensor()}); });
    for (int64_t r = 0; r < 6; ++r) {
      double squares = 0;
      for (int64_t i = 0; i < width; ++i) squares += static_cast<double>(in.x.row(r)[i]) * in.x.row(r)[i];
      for (int64_t i = 0; i < width; ++i) EXPECT_NEAR(out.row(r)[i], in.x.row(r)[i] / std::sqrt(squares), 2e-7);
    }
  }
}

TEST(UnitNorm, LeavesARowOfZerosAlone) {
  const Matrix x(1, 20), out(1, 20);
  std::fill_n(x.row(0), 20, 0.0f);
  RunKernel("unit_norm", SupportedIsas().back(), Call({out.tensor(), x.tensor()}), {.num_rows = 1});
  for (int64_t i = 0; i < 20; ++i) EXPECT_EQ(out.row(0)[i], 0.0f);
}

TEST(AddPosition, AddsTheConstantThenTheRowOfThePosition) {
  for (int64_t width : kWidths) {
    const Operands in(width);
    const Matrix out(6, width);
    RunAtEveryLevel("add_position", out, [&](const Matrix& m) { return Call({m.tensor(), in.x.tensor(), in.table.tensor(), in.bias.tensor()}); });
    for (int64_t r = 0; r < 6; ++r) {
      for (int64_t i = 0; i < width; ++i) EXPECT_EQ(out.row(r)[i], (in.x.row(r)[i] + in.bias.row(0)[i]) + in.table.row(kPositions[r])[i]);
    }
  }
}

TEST(Pool, AddsTheRowsOfEachSequenceByAscendingPosition) {
  for (int64_t width : kWidths) {
    const Operands in(width);
    const Matrix out(3, width);
    RunAtEveryLevel("pool", out, [&](const Matrix& m) { return PoolCall(m, in.x, 1); });
    for (int64_t i = 0; i < width; ++i) {
      const auto x = [&](int64_t r) { return in.x.row(r)[i]; };
      EXPECT_EQ(out.row(0)[i], ((x(0) + x(1)) + x(2)) / 3.0f);
      EXPECT_EQ(out.row(1)[i], (x(3) + x(4)) / 2.0f);
      EXPECT_EQ(out.row(2)[i], x(5));
    }
  }
}

TEST(Pool, TakesTheFirstRowOfEachSequence) {
  const Operands in(100);
  const Matrix out(3, 100);
  RunAtEveryLevel("pool", out, [&](const Matrix& m) { return PoolCall(m, in.x, 0); });
  const int64_t first[] = {0, 3, 5};
  for (int64_t r = 0; r < 3; ++r) EXPECT_EQ(std::memcmp(out.row(r), in.x.row(first[r]), 100 * sizeof(float)), 0);
}

// A hostile plan may ask for rows that are not there; the result is then left alone.
TEST(Pool, TouchesNothingForASequenceThatBeganBeforeTheStep) {
  const Operands in(20);
  const Matrix out(3, 20);
  const int32_t positions[] = {7, 8, 9, 0, 1, 0};
  StepView step = kStep;
  step.positions = positions;
  RunKernel("pool", SupportedIsas().back(), PoolCall(out, in.x, 1), step);
  EXPECT_EQ(out.row(0)[0], Matrix::kSentinel);
  EXPECT_NE(out.row(1)[0], Matrix::kSentinel);
}

TEST(EmbedderChecks, RefuseWhatDoesNotFit) {
  const Operands in(20), wide(21);
  const Matrix out(6, 20), pooled(3, 20);
  const auto fault = [](std::string_view kernel, const KernelCall& call) { return FindKernel(kernel, Isa::kScalar)->check(call); };
  EXPECT_EQ(fault("layer_norm", LayerNormCall(out, in, 1e-5f)), nullptr);
  EXPECT_NE(fault("layer_norm", LayerNormCall(out, wide, 1e-5f)), nullptr);
  EXPECT_NE(fault("layer_norm", Call({out.tensor(), in.x.tensor(), in.weight.tensor(), wide.bias.tensor()})), nullptr);
  EXPECT_NE(fault("layer_norm", Call({out.tensor(), in.x.tensor(), in.weight.tensor()})), nullptr);
  EXPECT_NE(fault("add_position", Call({out.tensor(), in.x.tensor(), wide.table.tensor(), in.bias.tensor()})), nullptr);
  EXPECT_NE(fault("add_position", Call({out.tensor(), in.x.tensor(), in.table.tensor(), in.table.tensor()})), nullptr);
  EXPECT_EQ(fault("pool", PoolCall(pooled, in.x, 1)), nullptr);
  EXPECT_NE(fault("pool", PoolCall(pooled, in.x, 2)), nullptr);
  EXPECT_NE(fault("pool", PoolCall(pooled, wide.x, 1)), nullptr);
  KernelCall rows = PoolCall(pooled, in.x, 1);
  rows.params.ints[kDomain] = static_cast<int64_t>(Domain::kRows);
  EXPECT_NE(fault("pool", rows), nullptr);
}

}  // namespace
}  // namespace intaglio::kernels
