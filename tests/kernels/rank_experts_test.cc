// Ranks that share out experts, or the inside of each, end in one rank's bits.
#include <cmath>

#include "kernels/params.h"
#include "tests/kernels/rank_harness.h"

namespace intaglio::kernels {
namespace {

constexpr int64_t kRows = 13, kTopK = 3, kChoices = kRows * kTopK, kExperts = 11, kHidden = 40, kOut = 24;
constexpr std::array<int64_t, kSegments + 1> kBorders{0, 5, 10, 10, 16, 21, 33, 39, 40};

Tensor Ints(std::vector<int32_t>& data, int64_t rows, int64_t cols) {
  return {reinterpret_cast<std::byte*>(data.data()), rows, cols, cols, DType::kI32};
}

StepView Rows() { return Step(kRows); }

// Rows that chose experts, in expert order; and what experts [first, end) make of them with segments [segment, segment + leaves) of K.
class Layer {
 public:
  explicit Layer(uint32_t seed)
      : random_(seed),
        x_(kChoices, kHidden, random_),
        weight_(kExperts * kOut, kHidden, random_),
        weights_(kRows, kTopK, random_),
        bias_(kExperts, kOut, random_),
        ids_(kChoices),
        positions_(kChoices),
        offsets_(kExperts + 1) {
    std::vector<int32_t> experts(kExperts - 1);   // nobody chooses the last
    std::iota(experts.begin(), experts.end(), 0);
    for (int64_t row = 0; row < kRows; ++row) {
      std::ranges::shuffle(experts, random_);
      std::copy_n(experts.begin(), kTopK, ids_.begin() + row * kTopK);
      std::sort(ids_.begin() + row * kTopK, ids_.begin() + (row + 1) * kTopK);
    }
    RunKernel("expert_group", Isa::kScalar, Call({positions(), offsets(), ids()}), Rows());
  }

  struct Part {
    int64_t first = 0, end = kExperts;
    int segment = 0, leaves = kSegments;
    bool has_bias = false;
  };

  Matrix Multiply(Isa isa, const Part& part) {
    const int64_t begin_k = kBorders[static_cast<size_t>(part.segment)], end_k = kBorders[static_cast<size_t>(part.segment + part.leaves)];
    const Matrix x(kChoices, end_k - begin_k), workspace(1, kChoices * kHidden), weight((part.end - part.first) * kOut, end_k - begin_k);
    for (int64_t r = 0; r < kChoices; ++r) std::copy_n(x_.row(r) + begin_k, x.cols(), x.row(r));
    for (int64_t r = 0; r < weight.rows(); ++r) std::copy_n(weight_.row(part.first * kOut + r) + begin_k, x.cols(), weight.row(r));
    const PackedStack packed(weight, kOut);
    Matrix out(kChoices, kOut);
    KernelCall call = Call({out.tensor(), x.tensor(), packed.tensor(), offsets(), {}, workspace.tensor()});
    if (part.has_bias) call.operands[4] = {reinterpret_cast<std::byte*>(bias_.row(part.first)), part.end - part.first, kOut, 32, DType::kF32};
    for (int s = 0; s <= kSegments; ++s)
      call.params.ints[static_cast<size_t>(s)] = kBorders[static_cast<size_t>(part.segment + std::min(s, part.leaves))] - begin_k;
    call.params.ints[kLeaves] = part.leaves;
    SetOwn(part, &call);
    RunKernel("expert_matmul_f32", isa, call, Rows(), /*order_seed=*/7);
    EXPECT_TRUE(out.HasIntactPadding());
    return out;
  }

  KernelCall CombineCall(const Matrix& out, const Matrix& y) {
    KernelCall call = Call({out.tensor(), y.tensor(), positions(), ids(), weights_.tensor()});
    call.params.ints[expert_params::kNumExperts] = kExperts;
    return call;
  }

  Matrix Combine(Isa isa, const Matrix& y, int64_t first_group, int64_t num_groups) {
    Matrix out(kRows, kOut);
    KernelCall call = CombineCall(out, y);
    call.params.ints[expert_params::kFirstGroup] = first_group;
    call.params.ints[expert_params::kNumGroups] = num_groups;
    RunKernel("expert_combine", isa, call, Rows());
    return out;
  }

  // Rows of one share alone.
  Matrix CombineShare(Isa isa, const Matrix& y, int64_t share, int64_t num_shares) {
    Matrix out(kRows, kOut);
    KernelCall call = CombineCall(out, y);
    call.params.ints[expert_params::kShare] = share;
    call.params.ints[expert_params::kNumShares] = num_shares;
    RunKernel("expert_combine", isa, call, Rows(), /*order_seed=*/3);
    return out;
  }

  void Isolate(Isa isa, const Part& part, const Matrix& y) {
    KernelCall call = Call({y.tensor(), y.tensor(), offsets()});
    SetOwn(part, &call);
    RunKernel("expert_isolate", isa, call, Rows());
  }
  void AddBias(Isa isa, const Matrix& y) {
    KernelCall call = Call({y.tensor(), y.tensor(), offsets(), bias_.tensor()});
    call.params.ints[kRowMultiple] = kTopK;
    RunKernel("expert_bias", isa, call, Rows());
  }

  // Rows of experts [first, end) in expert order.
  [[nodiscard]] int64_t FirstRow(int64_t expert) const { return offsets_[static_cast<size_t>(expert)]; }
  Tensor offsets() { return Ints(offsets_, 1, kExperts + 1); }

 private:
  Tensor ids() { return Ints(ids_, kRows, kTopK); }
  Tensor positions() { return Ints(positions_, kRows, kTopK); }
  static void SetOwn(const Part& part, KernelCall* call) {
    call->params.ints[kRowMultiple] = kTopK;
    call->params.ints[expert_params::kNumExperts] = part.end - part.first;
    call->params.ints[expert_params::kFirstExpert] = part.first;
  }

  std::mt19937 random_;
  Matrix x_, weight_, weights_, bias_;
  std::vector<int32_t> ids_, positions_, offsets_;
};

int64_t Border(int rank, int num_ranks) { return kExperts * (kSegments * rank / num_ranks) / kSegments; }

TEST(RankExperts, AnExpertsRowsAreTheSameWhereverItIs) {
  Layer layer(/*seed=*/1);
  const Matrix expected = layer.Multiply(Isa::kScalar, {.has_bias = true});
  for (Isa isa : SupportedIsas()) {
    for (int num_ranks : {2, 4, 8}) {
      for (int rank = 0; rank < num_ranks; ++rank) {
        const int64_t first = Border(rank, num_ranks), end = Border(rank + 1, num_ranks);
        const Matrix own = layer.Multiply(isa, {.first = first, .end = end, .has_bias = true});
        for (int64_t r = 0; r < kChoices; ++r) {
          const bool is_own = r >= layer.FirstRow(first) && r < layer.FirstRow(end);
          ASSERT_EQ(std::memcmp(own.row(r), is_own ? expected.row(r) : Matrix(1, kOut).row(0), kOut * sizeof(float)), 0) << Name(isa) << r;
        }
      }
    }
  }
}

TEST(RankExperts, GroupsOfRanksAddUpToOneRanksBits) {
  Layer layer(/*seed=*/2);
  const Matrix expected = layer.Combine(Isa::kScalar, layer.Multiply(Isa::kScalar, {}), 0, 0);
  for (Isa isa : SupportedIsas()) {
    for (int num_ranks : {1, 2, 4, 8}) {
      std::vector<Matrix> parts;
      for (int rank = 0; rank < num_ranks; ++rank) {
        const Matrix own = layer.Multiply(isa, {.first = Border(rank, num_ranks), .end = Border(rank + 1, num_ranks)});
        parts.push_back(layer.Combine(isa, own, kSegments * rank / num_ranks, kSegments / num_ranks));
      }
      EXPECT_TRUE(SameBits(AddRanks(parts), expected)) << Name(isa) << ", " << num_ranks << " ranks";
    }
  }
}

TEST(RankExperts, ARankAddsItsShareOfRowsAndNoOther) {
  Layer layer(/*seed=*/7);
  const Matrix y = layer.Multiply(Isa::kScalar, {}), expected = layer.Combine(Isa::kScalar, y, 0, 0), untouched(1, kOut);
  for (Isa isa : SupportedIsas()) {
    for (int num_ranks : {1, 2, 4, 8}) {
      for (int rank = 0; rank < num_ranks; ++rank) {
        const Matrix own = layer.CombineShare(isa, y, rank, num_ranks);
        for (int64_t r = 0; r < kRows; ++r) {
          const bool is_own = r >= kRows * rank / num_ranks && r < kRows * (rank + 1) / num_ranks;
          ASSERT_EQ(std::memcmp(own.row(r), is_own ? expected.row(r) : untouched.row(0), kOut * sizeof(float)), 0) << Name(isa) << r;
        }
      }
    }
  }
}

// Four ranks: two share out the experts, two the inside of each.
TEST(RankExperts, PartsOfExpertsAddUpToOneRanksBits) {
  Layer layer(/*seed=*/3);
  const Matrix expected = layer.Multiply(Isa::kScalar, {.has_bias = true});
  for (Isa isa : SupportedIsas()) {
    for (const auto& [num_ranks, groups] : {std::pair(4, 2), std::pair(8, 1), std::pair(8, 4), std::pair(2, 1)}) {
      const int inside = num_ranks / groups;
      std::vector<Matrix> parts;
      for (int rank = 0; rank < num_ranks; ++rank) {
        const int group = rank / inside;
        const Layer::Part part{.first = Border(group, groups),
                               .end = Border(group + 1, groups),
                               .segment = kSegments * (rank % inside) / inside,
                               .leaves = kSegments / inside};
        if (kBorders[static_cast<size_t>(part.segment)] == kBorders[static_cast<size_t>(part.segment + part.leaves)]) {
          parts.emplace_back(kChoices, kOut);
          KernelCall zeros = Call({parts.back().tensor()});
          zeros.params.ints[kRowMultiple] = kTopK;
          RunKernel("zeros", isa, zeros, Rows());
        } else {
          parts.push_back(layer.Multiply(isa, part));
        }
        layer.Isolate(isa, part, parts.back());
      }
      const Matrix sum = AddRanks(parts);
      layer.AddBias(isa, sum);
      EXPECT_TRUE(SameBits(sum, expected)) << Name(isa) << ", " << num_ranks << " ranks";
    }
  }
}

TEST(RankExperts, IsolatedRowsAreMinusZero) {
  Layer layer(/*seed=*/4);
  const Layer::Part part{.first = 2, .end = 5};
  const Matrix y = layer.Multiply(Isa::kScalar, part);
  for (Isa isa : SupportedIsas()) {
    layer.Isolate(isa, part, y);
    ASSERT_LT(layer.FirstRow(2), layer.FirstRow(5));
    for (int64_t r = 0; r < kChoices; ++r) {
      const bool is_own = r >= layer.FirstRow(2) && r < layer.FirstRow(5);
      EXPECT_EQ(y.row(r)[kOut - 1] == 0.0f && std::signbit(y.row(r)[kOut - 1]), !is_own) << Name(isa) << ", row " << r;
    }
  }
}

TEST(RankExperts, OffsetsOfAHostilePlanStayWithinTheBias) {
  Layer layer(/*seed=*/5);
  Tensor offsets = layer.offsets();
  for (const int32_t everywhere : {INT32_MIN, -1, 0, 5, INT32_MAX}) {
    std::fill_n(offsets.i32(), kExperts + 1, everywhere);
    const Matrix y(kChoices, kOut);
    for (Isa isa : SupportedIsas()) {
      layer.AddBias(isa, y);
      layer.Isolate(isa, {.first = 2, .end = 5}, y);
      EXPECT_TRUE(y.HasIntactPadding());
      (void)layer.Multiply(isa, {.first = 2, .end = 5});
    }
  }
}

TEST(RankExpertChecks, RefuseExpertsAndGroupsThatAreNotThere) {
  Layer layer(/*seed=*/6);
  const Matrix y(kChoices, kOut), bias(kExperts, kOut), few(kExperts - 1, kOut);
  KernelCall isolate = Call({y.tensor(), y.tensor(), layer.offsets()});
  const Kernel::Check check = FindKernel("expert_isolate", Isa::kScalar)->check;
  for (const auto& [first, count, is_fine] : {std::tuple(0, 11, true), std::tuple(10, 1, true), std::tuple(0, 12, false), std::tuple(1, 11, false),
                                              std::tuple(-1, 2, false), std::tuple(3, 0, false)}) {
    isolate.params.ints[expert_params::kFirstExpert] = first;
    isolate.params.ints[expert_params::kNumExperts] = count;
    EXPECT_EQ(check(isolate) == nullptr, is_fine) << first << ", " << count;
  }
  const Kernel::Check check_bias = FindKernel("expert_bias", Isa::kScalar)->check;
  EXPECT_EQ(check_bias(Call({y.tensor(), y.tensor(), layer.offsets(), bias.tensor()})), nullptr);
  EXPECT_NE(check_bias(Call({y.tensor(), y.tensor(), layer.offsets(), few.tensor()})), nullptr);

  std::vector<int32_t> choices(kChoices);
  const Matrix out(kRows, kOut);
  KernelCall combine = Call({out.tensor(), y.tensor(), Ints(choices, kRows, kTopK), Ints(choices, kRows, kTopK)});
  combine.params.ints[expert_params::kNumExperts] = kExperts;
  for (const auto& [first, count, is_fine] : {std::tuple(0, 0, true), std::tuple(4, 4, true), std::tuple(7, 1, true), std::tuple(5, 4, false),
                                              std::tuple(1, 0, false), std::tuple(-1, 1, false), std::tuple(0, 3, false), std::tuple(0, 16, false)}) {
    combine.params.ints[expert_params::kFirstGroup] = first;
    combine.params.ints[expert_params::kNumGroups] = count;
    EXPECT_EQ(FindKernel("expert_combine", Isa::kScalar)->check(combine) == nullptr, is_fine) << first << ", " << count;
  }
  combine.params.ints[expert_params::kFirstGroup] = combine.params.ints[expert_params::kNumGroups] = 0;
  for (const auto& [share, count, is_fine] : {std::tuple(0, 0, true), std::tuple(0, 1, true), std::tuple(7, 8, true), std::tuple(1, 0, false),
                                              std::tuple(2, 2, false), std::tuple(-1, 2, false), std::tuple(0, 9, false), std::tuple(0, -1, false)}) {
    combine.params.ints[expert_params::kShare] = share;
    combine.params.ints[expert_params::kNumShares] = count;
    EXPECT_EQ(FindKernel("expert_combine", Isa::kScalar)->check(combine) == nullptr, is_fine) << share << " of " << count;
  }
}

}  // namespace
}  // namespace intaglio::kernels
