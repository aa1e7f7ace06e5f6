#include <cmath>

#include "harness.h"
#include "kernels/params.h"

namespace intaglio::kernels {
namespace {

constexpr uint32_t kSeed = 3;
const StepView kStep{.num_rows = 2};

double ExactSilu(double x) { return x / (1.0 + std::exp(-x)); }
double ExactGelu(double x) { return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x))); }

// 0.5 (1 + tanh u) cancels in double too where u is far below zero: there, the sigmoid form.
double ExactGeluFar(double x) { return x / (1.0 + std::exp(-2.0 * std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x))); }

Matrix Activated(const char* kernel, Isa isa, const Matrix& x) {
  Matrix y(x.rows(), x.cols());
  RunKernel(kernel, isa, Call({y.tensor(), x.tensor()}), kStep);
  return y;
}

Matrix Ramp(float low, float high) {
  Matrix x(2, 50001);
  for (int64_t r = 0; r < 2; ++r) {
    for (int64_t i = 0; i < x.cols(); ++i) x.row(r)[i] = low + (high - low) * static_cast<float>(2 * i + r) / static_cast<float>(2 * x.cols());
  }
  return x;
}

TEST(Activations, SiluIsWithinFiveUlp) {
  const Matrix x = Ramp(-80.0f, 80.0f), y = Activated("silu", Isa::kScalar, x);
  for (int64_t i = 0; i < x.cols(); ++i) {
    const double exact = ExactSilu(x.row(1)[i]);
    ASSERT_NEAR(y.row(1)[i], exact, 5 * 6e-8 * std::fabs(exact)) << x.row(1)[i];
  }
}

// Below zero the result is x e^(2u): the rounding of u is relative to |2u|, so it counts that often.
TEST(Activations, GeluIsAccurateRelativeToTheSizeOfItsExponent) {
  const Matrix x = Ramp(-9.0f, 9.0f), y = Activated("gelu_tanh", Isa::kScalar, x);
  for (int64_t i = 0; i < x.cols(); ++i) {
    const double value = x.row(1)[i], exact = ExactGeluFar(value);
    const double exponent = 2.0 * std::sqrt(2.0 / M_PI) * std::fabs(value + 0.044715 * value * value * value);
    ASSERT_NEAR(y.row(1)[i], exact, 6e-8 * (5 + 4 * (value < 0 ? exponent : 0)) * std::fabs(exact)) << value;
    ASSERT_NEAR(y.row(1)[i], ExactGelu(value), 1e-6) << value;
  }
}

KernelCall ScalarCall(const Matrix& y, const Matrix& x, float value) {
  KernelCall call = Call({y.tensor(), x.tensor()});
  call.params.floats[scalar_params::kValue] = value;
  return call;
}

TEST(Scalars, ScaleAndSoftcapMatchDoubleWithTheSameBitsAtEveryLevelAndInPlace) {
  for (const char* kernel : {"scale", "softcap"}) {
    const Matrix x = Ramp(-90.0f, 90.0f), expected(2, x.cols());
    RunKernel(kernel, Isa::kScalar, ScalarCall(expected, x, 30.0f), kStep);
    for (int64_t i = 0; i < x.cols(); ++i) {
      const double value = x.row(1)[i], exact = kernel[1] == 'c' ? value * 30 : 30 * std::tanh(value / 30);
      ASSERT_NEAR(expected.row(1)[i], exact, 4e-7 * std::fabs(exact)) << value;
    }
    for (Isa isa : SupportedIsas()) {
      const Matrix y(2, x.cols()), in_place = Ramp(-90.0f, 90.0f);
      RunKernel(kernel, isa, ScalarCall(y, x, 30.0f), kStep);
      RunKernel(kernel, isa, ScalarCall(in_place, in_place, 30.0f), kStep);
      EXPECT_TRUE(SameBits(y, expected)) << kernel << ' ' << Name(isa);
      EXPECT_TRUE(SameBits(in_place, expected)) << kernel << ' ' << Name(isa);
    }
  }
}

TEST(Activations, SaturateExactly) {
  Matrix x(2, 8);
  const float values[8] = {100.0f, 1e30f, -100.0f, -1e30f, 0.0f, -0.0f, 3e38f, -3e38f};
  for (int64_t r = 0; r < 2; ++r) std::copy_n(values, 8, x.row(r));
  for (const char* kernel : {"silu", "gelu_tanh"}) {
    const Matrix y = Activated(kernel, SupportedIsas().back(), x);
    for (int i : {0, 1, 6}) EXPECT_EQ(y.row(0)[i], values[i]) << kernel;
    for (int i : {2, 3, 4, 5, 7}) EXPECT_EQ(y.row(0)[i], 0.0f) << kernel << " " << values[i];
  }
}

class ElementwiseCols : public testing::TestWithParam<int64_t> {};

TEST_P(ElementwiseCols, EveryKernelGivesTheSameBitsAtEveryLevelAndStoresItsColumnsOnly) {
  const int64_t cols = GetParam();
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937 random(kSeed);
  const Matrix a(2, cols, random, 4.0f), b(2, cols, random), both(2, 2 * cols, random, 4.0f), vector(1, cols, random);
  const auto inputs = [&](std::string_view name, const Matrix& out) {
    if (name == "scale_columns") return Call({out.tensor(), a.tensor(), vector.tensor()});
    if (name == "add" || name == "mul" || name == "sigmoid_gate") return Call({out.tensor(), a.tensor(), b.tensor()});
    return Call({out.tensor(), name.starts_with("gated") ? both.tensor() : a.tensor()});
  };
  for (const char* name : {"add", "mul", "silu", "gelu_tanh", "gated_silu", "gated_gelu_tanh", "scale_columns", "sigmoid_gate"}) {
    const Matrix expected(2, cols);
    RunKernel(name, Isa::kScalar, inputs(name, expected), kStep);
    for (Isa isa : SupportedIsas()) {
      const Matrix out(2, cols, cols + 32);
      RunKernel(name, isa, inputs(name, out), kStep);
      EXPECT_TRUE(SameBits(out, expected)) << name << " " << Name(isa);
      EXPECT_TRUE(out.HasIntactPadding()) << name << " " << Name(isa);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cols, ElementwiseCols, testing::Values(1, 15, 16, 24, 33, 640));

TEST(Elementwise, AddMulAndGatesDoWhatTheySay) {
  std::mt19937 random(kSeed);
  const Matrix a(2, 20, random), b(2, 20, random), both(2, 40, random), out(2, 20), acted(2, 40);
  RunKernel("add", Isa::kScalar, Call({out.tensor(), a.tensor(), b.tensor()}), kStep);
  EXPECT_EQ(out.row(1)[19], a.row(1)[19] + b.row(1)[19]);
  RunKernel("mul", Isa::kScalar, Call({out.tensor(), a.tensor(), b.tensor()}), kStep);
  EXPECT_EQ(out.row(1)[19], a.row(1)[19] * b.row(1)[19]);
  RunKernel("silu", Isa::kScalar, Call({acted.tensor(), both.tensor()}), kStep);
  RunKernel("gated_silu", Isa::kScalar, Call({out.tensor(), both.tensor()}), kStep);
  EXPECT_EQ(out.row(1)[19], acted.row(1)[19] * both.row(1)[39]);
  RunKernel("gelu_tanh", Isa::kScalar, Call({acted.tensor(), both.tensor()}), kStep);
  RunKernel("gated_gelu_tanh", Isa::kScalar, Call({out.tensor(), both.tensor()}), kStep);
  EXPECT_EQ(out.row(1)[3], acted.row(1)[3] * both.row(1)[23]);
}

TEST(Elementwise, ColumnsAreScaledAndGatesAreOfElementsOrRows) {
  std::mt19937 random(kSeed);
  const Matrix x(2, 20, random), vector(1, 20, random), gate(2, 20, random), row_gate(2, 1, random), out(2, 20);
  RunKernel("scale_columns", Isa::kScalar, Call({out.tensor(), x.tensor(), vector.tensor()}), kStep);
  EXPECT_EQ(out.row(1)[19], x.row(1)[19] * vector.row(0)[19]);
  RunKernel("sigmoid_gate", Isa::kScalar, Call({out.tensor(), x.tensor(), gate.tensor()}), kStep);
  EXPECT_NEAR(out.row(1)[19], x.row(1)[19] / (1 + std::exp(-gate.row(1)[19])), 1e-6);
  RunKernel("sigmoid_gate", Isa::kScalar, Call({out.tensor(), x.tensor(), row_gate.tensor()}), kStep);
  EXPECT_NEAR(out.row(1)[19], x.row(1)[19] / (1 + std::exp(-row_gate.row(1)[0])), 1e-6);
}

TEST(GatherRows, CopiesTheOutputRows) {
  std::mt19937 random(kSeed);
  const Matrix x(5, 40, random), out(3, 40);
  KernelCall call = Call({out.tensor(), x.tensor()});
  call.params.ints[kDomain] = static_cast<int64_t>(Domain::kOutputs);
  constexpr int32_t kOutputRows[] = {1, 4};
  RunKernel("gather_rows", SupportedIsas().back(), call, {.num_rows = 5, .num_outputs = 2, .output_rows = kOutputRows});
  EXPECT_EQ(std::memcmp(out.row(0), x.row(1), 160), 0);
  EXPECT_EQ(std::memcmp(out.row(1), x.row(4), 160), 0);
  EXPECT_EQ(out.row(2)[0], Matrix::kSentinel);
}

TEST(Elementwise, ChecksRefuseWhatDoesNotFit) {
  const Matrix out(2, 32), same(2, 32), narrow(2, 16), twice(2, 64), fewer(1, 32);
  const auto check = [](const char* name, const KernelCall& call) { return FindKernel(name, Isa::kScalar)->check(call); };
  EXPECT_EQ(check("add", Call({out.tensor(), same.tensor(), same.tensor()})), nullptr);
  EXPECT_NE(check("add", Call({out.tensor(), same.tensor()})), nullptr);
  EXPECT_NE(check("add", Call({out.tensor(), same.tensor(), narrow.tensor()})), nullptr);
  EXPECT_NE(check("mul", Call({out.tensor(), fewer.tensor(), same.tensor()})), nullptr);
  EXPECT_NE(check("silu", Call({out.tensor(), twice.tensor()})), nullptr);
  EXPECT_NE(check("scale_columns", Call({out.tensor(), same.tensor(), same.tensor()})), nullptr);   // not one row
  EXPECT_NE(check("scale_columns", Call({out.tensor(), narrow.tensor(), fewer.tensor()})), nullptr);
  EXPECT_NE(check("sigmoid_gate", Call({out.tensor(), same.tensor(), narrow.tensor()})), nullptr);
  EXPECT_NE(check("sigmoid_gate", Call({out.tensor(), same.tensor(), fewer.tensor()})), nullptr);
  EXPECT_EQ(check("gated_silu", Call({out.tensor(), twice.tensor()})), nullptr);
  EXPECT_NE(check("gated_silu", Call({out.tensor(), same.tensor()})), nullptr);
  KernelCall strided = Call({out.tensor(), same.tensor()});
  strided.operands[1].stride = 8;
  EXPECT_NE(check("silu", strided), nullptr);
  KernelCall domain = Call({out.tensor(), same.tensor()});
  domain.params.ints[kDomain] = 9;
  EXPECT_NE(check("silu", domain), nullptr);
  KernelCall gather = Call({out.tensor(), same.tensor()});
  EXPECT_NE(check("gather_rows", gather), nullptr);   // follows rows
  gather.params.ints[kDomain] = static_cast<int64_t>(Domain::kOutputs);
  EXPECT_EQ(check("gather_rows", gather), nullptr);
  gather.params.ints[kRowMultiple] = 2;
  EXPECT_NE(check("gather_rows", gather), nullptr);
}

}  // namespace
}  // namespace intaglio::kernels
