// Kernels that work head by head, rotations that follow the length, scales by position.
#include <cmath>

#include "kernels/pack.h"
#include "kernels/params.h"
#include "kernels/workspace.h"
#include "tests/kernels/harness.h"

namespace intaglio::kernels {
namespace {

constexpr int64_t kRows = 37, kHeads = 3, kK = 40, kN = 24, kBlockRows = 32;

// x [rows, heads * K] as columns of a wider value, one matrix a head.
class HeadMatMul {
 public:
  explicit HeadMatMul(uint32_t seed)
      : random_(seed), x_(kRows, kHeads * kK + 16, random_), weight_(kHeads * kN, kK, random_, 0.2f), packed_(weight_, kN) {}

  // Rows [first, first + count) as a step of their own.
  Matrix Run(Isa isa, int64_t first, int64_t count, uint32_t order_seed = 0) {
    Matrix out(count, kHeads * kN);
    const Matrix workspace(1, count * kHeads * kK);
    const Tensor x{reinterpret_cast<std::byte*>(x_.row(first)), count, kHeads * kK, x_.tensor().stride, DType::kF32};
    KernelCall call = Call({out.tensor(), x, packed_.tensor(), workspace.tensor()});
    for (int s = 0; s <= kSegments; ++s) call.params.ints[static_cast<size_t>(s)] = kK * s / kSegments;
    call.params.ints[head_params::kHeads] = kHeads;
    RunKernel("head_matmul_f32", isa, call, Step(count), order_seed);
    EXPECT_TRUE(out.HasIntactPadding());
    return out;
  }
  [[nodiscard]] double Expected(int64_t row, int64_t col) const {
    double sum = 0;
    for (int64_t k = 0; k < kK; ++k) sum += static_cast<double>(x_.row(row)[col / kN * kK + k]) * weight_.row(col)[k];
    return sum;
  }

 private:
  std::mt19937 random_;
  Matrix x_, weight_;
  PackedStack packed_;
};

TEST(HeadMatMul, MultipliesEveryHeadByItsOwnMatrix) {
  HeadMatMul heads(/*seed=*/1);
  const Matrix out = heads.Run(Isa::kScalar, 0, kRows);
  for (int64_t row = 0; row < kRows; ++row) {
    for (int64_t col = 0; col < kHeads * kN; ++col) ASSERT_NEAR(out.row(row)[col], heads.Expected(row, col), 1e-5) << row << ", " << col;
  }
}

TEST(HeadMatMul, GivesTheSameBitsAtEveryLevelInEveryTaskOrderAndForARowAlone) {
  HeadMatMul heads(/*seed=*/2);
  const Matrix expected = heads.Run(Isa::kScalar, 0, kRows);
  for (Isa isa : SupportedIsas()) {
    for (uint32_t order : {0u, 3u}) EXPECT_TRUE(SameBits(heads.Run(isa, 0, kRows, order), expected)) << Name(isa) << ", order " << order;
    for (int64_t row = 0; row < kRows; ++row) {
      const Matrix alone = heads.Run(isa, row, 1);
      EXPECT_EQ(std::memcmp(alone.row(0), expected.row(row), kHeads * kN * sizeof(float)), 0) << Name(isa) << ", row " << row;
    }
  }
}

TEST(HeadMatMul, RefusesWeightsThatAreNotOneMatrixAHead) {
  const Matrix out(2, kHeads * kN), x(2, kHeads * kK), workspace(1, 2 * kHeads * kK);
  KernelCall call = Call({out.tensor(), x.tensor(), {x.tensor().data, (kHeads - 1) * kBlockRows, kK, 0, DType::kF32}, workspace.tensor()});
  call.params.ints[head_params::kHeads] = kHeads;
  call.params.ints[kSegments] = kK;
  EXPECT_NE(FindKernel("head_matmul_f32", Isa::kScalar)->check(call), nullptr);
  call.params.ints[head_params::kHeads] = 0;
  EXPECT_NE(FindKernel("head_matmul_f32", Isa::kScalar)->check(call), nullptr);
}

TEST(HeadConcat, PutsTheHeadsOfTwoValuesSideBySide) {
  std::mt19937 random(3);
  const Matrix a(kRows, kHeads * 5, random), own(kRows, kHeads * 3, random), shared(kRows, 3, random);
  for (Isa isa : SupportedIsas()) {
    for (const Matrix* b : {&own, &shared}) {
      const Matrix out(kRows, kHeads * 8);
      KernelCall call = Call({out.tensor(), a.tensor(), b->tensor()});
      call.params.ints[head_params::kHeads] = kHeads;
      RunKernel("head_concat", isa, call, Step(kRows));
      EXPECT_TRUE(out.HasIntactPadding());
      for (int64_t row = 0; row < kRows; ++row) {
        for (int64_t col = 0; col < kHeads * 8; ++col) {
          const int64_t head = col / 8, i = col % 8;
          const float expected = i < 5 ? a.row(row)[head * 5 + i] : b->row(row)[(b == &own ? head * 3 : 0) + i - 5];
          ASSERT_EQ(out.row(row)[col], expected) << row << ", " << col;
        }
      }
    }
  }
}

TEST(ScaleByPosition, MultipliesARowByItsPositionsEntry) {
  std::mt19937 random(4);
  const Matrix x(kRows, 21, random), table(50, 1, random);
  std::vector<int32_t> positions(kRows);
  for (size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<int32_t>(i * 7 % 50);
  StepView step = Step(kRows);
  step.positions = positions.data();
  for (Isa isa : SupportedIsas()) {
    const Matrix out(kRows, 21);
    RunKernel("scale_by_position", isa, Call({out.tensor(), x.tensor(), table.tensor()}), step);
    EXPECT_TRUE(out.HasIntactPadding());
    for (int64_t row = 0; row < kRows; ++row) {
      for (int64_t col = 0; col < 21; ++col) ASSERT_EQ(out.row(row)[col], x.row(row)[col] * *table.row(positions[static_cast<size_t>(row)]));
    }
  }
}

TEST(Rotary, IsTheNearestFloatOfCosineAndSineByTheRowsLengthAtEveryLevel) {
  constexpr int64_t kLengths = 9, kHalf = 12, kFirst = 100;
  std::mt19937 random(5);
  const Matrix frequencies(kLengths, kHalf, random);
  std::vector<int32_t> positions(kRows), lengths(kRows);
  for (size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<int32_t>(i * i * 97), lengths[i] = static_cast<int32_t>(90 + i % 19);
  StepView step = Step(kRows);
  step.positions = positions.data(), step.rope_rows = lengths.data();
  for (Isa isa : SupportedIsas()) {
    const Matrix out(kRows, 2 * kHalf);
    KernelCall call = Call({out.tensor(), frequencies.tensor()});
    call.params.ints[rotary_params::kFirstLength] = kFirst;
    RunKernel("rotary", isa, call, step);
    EXPECT_TRUE(out.HasIntactPadding());
    for (int64_t row = 0; row < kRows; ++row) {
      const int64_t length = std::clamp<int64_t>(lengths[static_cast<size_t>(row)] - kFirst, 0, kLengths - 1);
      for (int64_t i = 0; i < kHalf; ++i) {
        const double angle = static_cast<float>(positions[static_cast<size_t>(row)]) * frequencies.row(length)[i];
        ASSERT_EQ(out.row(row)[i], static_cast<float>(std::cos(angle))) << Name(isa) << ", cosine of " << angle;
        ASSERT_EQ(out.row(row)[kHalf + i], static_cast<float>(std::sin(angle))) << Name(isa) << ", sine of " << angle;
      }
    }
  }
}

}  // namespace
}  // namespace intaglio::kernels
