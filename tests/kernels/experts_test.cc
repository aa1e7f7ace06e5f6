// Mixtures of experts: routing against plain loops, an expert's rows alone against all together, and the order of the sum.
#include <cmath>

#include "kernels/pack.h"
#include "kernels/params.h"
#include "kernels/workspace.h"
#include "tests/kernels/harness.h"

namespace intaglio::kernels {
namespace {

constexpr int64_t kRows = 21, kExperts = 6, kTopK = 2, kHidden = 40, kOut = 24;
constexpr int64_t kBlockRows = 32;   // kOut in whole blocks

Tensor Ints(std::vector<int32_t>& data, int64_t rows, int64_t cols) {
  return {reinterpret_cast<std::byte*>(data.data()), rows, cols, cols, DType::kI32};
}

// A routed layer: everything from logits to the sum over experts, at one level.
class Layer {
 public:
  explicit Layer(uint32_t seed, int64_t used_experts = kExperts)
      : random_(seed),
        logits_(kRows, kExperts, random_),
        x_(kRows, kHidden, random_),
        weight_(kExperts * kOut, kHidden, random_, 0.2f),
        packed_(weight_, kOut) {
    for (int64_t row = 0; row < kRows; ++row) {
      for (int64_t e = used_experts; e < kExperts; ++e) logits_.row(row)[e] = -100.0f;
    }
  }

  // Rows [first, first + count) as a step of their own.
  Matrix Run(Isa isa, int64_t first, int64_t count, uint32_t order_seed = 0) {
    const StepView step = Step(count);
    const Matrix weights(count, kTopK), gathered(count * kTopK, kHidden), y(count * kTopK, kOut), workspace(1, count * kTopK * kHidden);
    Matrix out(count, kOut);
    ids_.assign(static_cast<size_t>(count * kTopK), -1);
    positions_ = ids_;
    offsets_.assign(kExperts + 1, -1);
    const Tensor logits{reinterpret_cast<std::byte*>(logits_.row(first)), count, kExperts, logits_.tensor().stride, DType::kF32};
    const Tensor x{reinterpret_cast<std::byte*>(x_.row(first)), count, kHidden, x_.tensor().stride, DType::kF32};
    KernelCall route = Call({Ints(ids_, count, kTopK), weights.tensor(), logits});
    route.params.ints[route_params::kNormalise] = 1;
    route.params.ints[route_params::kNumGroups] = route.params.ints[route_params::kTopGroups] = 1;
    route.params.floats[route_params::kScale] = 1.0f;
    RunKernel("route", isa, route, step, order_seed);
    RunKernel("expert_group", isa, Call({Ints(positions_, count, kTopK), Ints(offsets_, 1, kExperts + 1), Ints(ids_, count, kTopK)}), step);
    RunKernel("expert_gather", isa, Call({gathered.tensor(), x, Ints(positions_, count, kTopK)}), step, order_seed);
    matmul_ = Call({y.tensor(), gathered.tensor(), packed_.tensor(), Ints(offsets_, 1, kExperts + 1), {}, workspace.tensor()});
    for (int s = 0; s <= kSegments; ++s) matmul_.params.ints[static_cast<size_t>(s)] = kHidden * s / kSegments;
    matmul_.params.ints[expert_params::kNumExperts] = kExperts;
    matmul_.params.ints[kRowMultiple] = kTopK;
    num_tasks_ = FindKernel("expert_matmul_f32", isa)->num_tasks(matmul_, step, 1);
    RunKernel("expert_matmul_f32", isa, matmul_, step, order_seed);
    KernelCall combine = Call({out.tensor(), y.tensor(), Ints(positions_, count, kTopK), Ints(ids_, count, kTopK), weights.tensor()});
    combine.params.ints[expert_params::kNumExperts] = kExperts;
    RunKernel("expert_combine", isa, combine, step, order_seed);
    EXPECT_TRUE(out.HasIntactPadding());
    return out;
  }

  // What the sum must be, in double.
  [[nodiscard]] double Expected(int64_t row, int64_t col) const {
    const float* logits = logits_.row(row);
    std::vector<int64_t> order(kExperts);
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, std::greater(), [&](int64_t e) { return logits[e]; });
    double total = 0, sum = 0;
    for (int64_t j = 0; j < kTopK; ++j) total += std::exp(static_cast<double>(logits[order[static_cast<size_t>(j)]]));
    for (int64_t j = 0; j < kTopK; ++j) {
      const int64_t e = order[static_cast<size_t>(j)];
      double dot = 0;
      for (int64_t k = 0; k < kHidden; ++k) dot += static_cast<double>(x_.row(row)[k]) * weight_.row(e * kOut + col)[k];
      sum += std::exp(static_cast<double>(logits[e])) / total * dot;
    }
    return sum;
  }
  [[nodiscard]] int64_t num_tasks() const { return num_tasks_; }

 private:
  std::mt19937 random_;
  Matrix logits_, x_, weight_;
  PackedStack packed_;
  std::vector<int32_t> ids_, positions_, offsets_;
  KernelCall matmul_;
  int64_t num_tasks_ = 0;
};

TEST(Experts, SumWhatTheChosenOnesCompute) {
  Layer layer(/*seed=*/1);
  const Matrix out = layer.Run(Isa::kScalar, 0, kRows);
  for (int64_t row = 0; row < kRows; ++row) {
    // 40 products of about 0.2 and two weights: a few hundred epsilons of the largest partial sum.
    for (int64_t col = 0; col < kOut; ++col) ASSERT_NEAR(out.row(row)[col], layer.Expected(row, col), 2e-5) << row << ", " << col;
  }
}

TEST(Experts, GiveTheSameBitsAtEveryLevelAndInEveryTaskOrder) {
  Layer layer(/*seed=*/2);
  const Matrix expected = layer.Run(Isa::kScalar, 0, kRows);
  for (Isa isa : SupportedIsas()) {
    for (uint32_t order : {0u, 3u}) EXPECT_TRUE(SameBits(layer.Run(isa, 0, kRows, order), expected)) << Name(isa) << ", order " << order;
  }
}

TEST(Experts, GiveARowTheSameBitsAloneAndAmongOthers) {
  Layer layer(/*seed=*/3);
  const Isa isa = SupportedIsas().back();
  const Matrix all = layer.Run(isa, 0, kRows);
  for (int64_t row = 0; row < kRows; ++row) {
    const Matrix alone = layer.Run(isa, row, 1);
    EXPECT_EQ(std::memcmp(alone.row(0), all.row(row), kOut * sizeof(float)), 0) << "row " << row;
  }
}

TEST(Experts, HaveTasksOnlyWhereRowsChoseThem) {
  Layer all(/*seed=*/4), few(/*seed=*/4, /*used_experts=*/2);
  (void)all.Run(Isa::kScalar, 0, kRows);
  (void)few.Run(Isa::kScalar, 0, kRows);
  EXPECT_EQ(few.num_tasks() * kExperts, all.num_tasks() * 2);
}

TEST(Route, KeepsTheBestGroupsAndCorrectsTheChoiceButNotTheWeights) {
  Matrix logits(1, 6), bias(1, 6), weights(1, 2);
  const float scores[] = {2.0f, 1.0f, 0.0f, 0.5f, 1.5f, -1.0f};
  std::copy_n(scores, 6, logits.row(0));
  std::fill_n(bias.row(0), 6, 0.0f);
  bias.row(0)[3] = 10.0f;   // lifts the second of three groups
  std::vector<int32_t> ids(2);
  KernelCall call = Call({Ints(ids, 1, 2), weights.tensor(), logits.tensor(), bias.tensor()});
  call.params.ints[route_params::kScoring] = 1;
  call.params.ints[route_params::kNumGroups] = 3;
  call.params.ints[route_params::kTopGroups] = 1;
  call.params.floats[route_params::kScale] = 2.0f;
  RunKernel("route", Isa::kScalar, call, Step(1));
  EXPECT_EQ(ids, (std::vector<int32_t>{2, 3}));
  EXPECT_NEAR(weights.row(0)[0], 2 * 0.5, 1e-6);
  EXPECT_NEAR(weights.row(0)[1], 2 / (1 + std::exp(-0.5)), 1e-6);
}

TEST(Route, TakesTheLowerExpertOnATie) {
  Matrix logits(1, 4), weights(1, 2);
  std::fill_n(logits.row(0), 4, 1.0f);
  std::vector<int32_t> ids(2);
  KernelCall call = Call({Ints(ids, 1, 2), weights.tensor(), logits.tensor()});
  call.params.ints[route_params::kNumGroups] = call.params.ints[route_params::kTopGroups] = 1;
  call.params.floats[route_params::kScale] = 1.0f;
  for (Isa isa : SupportedIsas()) {
    RunKernel("route", isa, call, Step(1));
    EXPECT_EQ(ids, (std::vector<int32_t>{0, 1}));
  }
}

TEST(ExpertChecks, RefuseOperandsThatDoNotFit) {
  Matrix y(4, kOut), x(4, kHidden), workspace(1, 4 * kHidden);
  std::vector<int32_t> offsets(kExperts + 1);
  std::vector<float> packed(static_cast<size_t>(PackedBytes(kExperts * kBlockRows, kHidden, DType::kF32)) / sizeof(float));
  KernelCall good = Call({y.tensor(),
                          x.tensor(),
                          {reinterpret_cast<std::byte*>(packed.data()), kExperts * kBlockRows, kHidden, 0, DType::kF32},
                          Ints(offsets, 1, kExperts + 1),
                          {},
                          workspace.tensor()});
  good.params.ints[kSegments] = kHidden;
  good.params.ints[expert_params::kNumExperts] = kExperts;
  const Kernel* kernel = FindKernel("expert_matmul_f32", Isa::kScalar);
  ASSERT_EQ(kernel->check(good), nullptr);
  KernelCall bad = good;
  bad.params.ints[expert_params::kNumExperts] = kExperts + 1;
  EXPECT_NE(kernel->check(bad), nullptr);
  bad = good;
  bad.operands[5].cols -= 1;
  EXPECT_NE(kernel->check(bad), nullptr);
  bad = good;
  bad.operands[3].cols = 2;
  EXPECT_NE(kernel->check(bad), nullptr);
  bad = good;
  bad.params.ints[3] = kHidden + 1;
  EXPECT_NE(kernel->check(bad), nullptr);
}

TEST(ExpertGroup, GivesAFullExpertsLaterRowsNoPlace) {
  std::vector<int32_t> ids{0, 2, 0, 1, 0, 2, 0, 2}, positions(8, 9), offsets(4, 9);   // four rows, two of three experts each
  for (Isa isa : SupportedIsas()) {
    KernelCall call = Call({Ints(positions, 4, 2), Ints(offsets, 1, 4), Ints(ids, 4, 2)});
    call.params.ints[expert_params::kCapacity] = 2;
    RunKernel("expert_group", isa, call, Step(4));
    EXPECT_EQ(positions, (std::vector<int32_t>{0, 3, 1, 2, -1, 4, -1, -1}));
    EXPECT_EQ(offsets, (std::vector<int32_t>{0, 2, 3, 5}));
  }
}

TEST(ExpertCombine, LeavesOutWhatHasNoPlace) {
  std::mt19937 random(8);
  const Matrix x(2, 21, random), weights(2, 2, random);
  std::vector<int32_t> ids{0, 1, 0, 1}, positions{0, 1, -1, 2};
  for (Isa isa : SupportedIsas()) {
    const Matrix gathered(4, 21), out(2, 21);
    RunKernel("expert_gather", isa, Call({gathered.tensor(), x.tensor(), Ints(positions, 2, 2)}), Step(2));
    EXPECT_EQ(*gathered.row(3), Matrix::kSentinel);   // nobody's place
    KernelCall combine = Call({out.tensor(), gathered.tensor(), Ints(positions, 2, 2), Ints(ids, 2, 2), weights.tensor()});
    combine.params.ints[expert_params::kNumExperts] = 2;
    RunKernel("expert_combine", isa, combine, Step(2));
    for (int64_t col = 0; col < 21; ++col) {
      EXPECT_EQ(out.row(1)[col], weights.row(1)[1] * x.row(1)[col]);
      EXPECT_NEAR(out.row(0)[col], (weights.row(0)[0] + weights.row(0)[1]) * x.row(0)[col], 1e-5);
    }
  }
}

}  // namespace
}  // namespace intaglio::kernels
