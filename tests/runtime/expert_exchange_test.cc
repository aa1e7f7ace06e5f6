// Ranks that exchange what their experts made end in one rank's bits, whatever chose which expert.
#include <gtest/gtest.h>

#include <functional>

#include "collectives/thread_group.h"
#include "kernels/params.h"
#include "runtime/ranks/collective_calls.h"
#include "tests/kernels/harness.h"

namespace intaglio::runtime {
namespace {

using collectives::Collectives;
using kernels::Call;
using kernels::Isa;
using kernels::KernelCall;
using kernels::Matrix;
using kernels::Tensor;
namespace expert_params = kernels::expert_params;

constexpr int64_t kRows = 16, kCols = 24;   // of a bucket; a step has at most as many

// Rows of a step that chose experts at random, and what these made of them, in expert order.
struct Step {
  int64_t live = 0, top_k = 0, num_experts = 0, capacity = 0;
};

class Layer {
 public:
  Layer(const Step& step, uint32_t seed)
      : step_(step),
        random_(seed),
        ids_(static_cast<size_t>(kRows * step.top_k)),
        positions_(ids_.size(), -7),
        offsets_(static_cast<size_t>(step.num_experts) + 1),
        y_(kRows * step.top_k, kCols, random_),
        weights_(kRows, step.top_k, random_) {
    std::vector<int32_t> experts(static_cast<size_t>(step.num_experts));
    std::iota(experts.begin(), experts.end(), 0);
    for (auto row = ids_.begin(); row != ids_.end(); row += step.top_k) {
      std::ranges::shuffle(experts, random_);
      std::copy_n(experts.begin(), step.top_k, row);
      std::sort(row, row + step.top_k);
    }
    KernelCall group = Call({positions(), offsets(), ids()});
    group.params.ints[expert_params::kCapacity] = step.capacity;
    kernels::RunKernel("expert_group", Isa::kScalar, group, view());
  }

  [[nodiscard]] kernels::StepView view() const { return kernels::Step(step_.live); }
  [[nodiscard]] const Matrix& y() const { return y_; }
  [[nodiscard]] int64_t Border(int64_t rank, int64_t num_ranks) const { return step_.num_experts * (8 * rank / num_ranks) / 8; }
  [[nodiscard]] int64_t OffsetOf(int64_t expert) const { return offsets_[static_cast<size_t>(expert)]; }
  // As a plan of a hostile bundle may have them.
  void Spoil() {
    for (int32_t& position : positions_) position = static_cast<int32_t>(random_() % 100) - 20;
    for (int32_t& offset : offsets_) offset = static_cast<int32_t>(random_() % 100) - 20;
  }

  [[nodiscard]] KernelCall ExchangeCall(const Matrix& y, const Matrix& workspace, int num_ranks) {
    KernelCall call = Call({y.tensor(), positions(), offsets(), workspace.tensor()});
    for (int r = 0; r <= num_ranks; ++r) call.params.ints[static_cast<size_t>(r)] = Border(r, num_ranks);
    call.params.ints[kernels::kRowMultiple] = step_.top_k;
    return call;
  }
  void Combine(const Matrix& y, const Matrix& out, int rank, int num_ranks) {
    KernelCall call = Call({out.tensor(), y.tensor(), positions(), ids(), weights_.tensor()});
    call.params.ints[expert_params::kNumExperts] = step_.num_experts;
    call.params.ints[expert_params::kShare] = rank;
    call.params.ints[expert_params::kNumShares] = num_ranks;
    kernels::RunKernel("expert_combine", Isa::kScalar, call, view());
  }

 private:
  static Tensor Ints(std::vector<int32_t>& data, int64_t rows, int64_t cols) {
    return {reinterpret_cast<std::byte*>(data.data()), rows, cols, cols, DType::kI32};
  }
  Tensor ids() { return Ints(ids_, kRows, step_.top_k); }
  Tensor positions() { return Ints(positions_, kRows, step_.top_k); }
  Tensor offsets() { return Ints(offsets_, 1, step_.num_experts + 1); }

  Step step_;
  std::mt19937 random_;
  std::vector<int32_t> ids_, positions_, offsets_;
  Matrix y_, weights_;
};

void Meet(CollectiveKind kind, const KernelCall& call, const Layer& layer, Collectives& group) {
  const char* problem = CheckCollective(kind, call, group);
  ASSERT_EQ(problem, nullptr) << problem;
  RunCollective(kind, call, layer.view(), {.group = &group});
}

// What a rank has of y at first: the rows of its own experts, and no numbers elsewhere.
Matrix OwnRows(const Layer& layer, int rank, int num_ranks) {
  Matrix y(layer.y().rows(), kCols);
  for (int64_t r = 0; r < y.rows(); ++r) {
    const bool is_own = r >= layer.OffsetOf(layer.Border(rank, num_ranks)) && r < layer.OffsetOf(layer.Border(rank + 1, num_ranks));
    std::fill_n(y.row(r), kCols, std::numeric_limits<float>::quiet_NaN());
    if (is_own) std::copy_n(layer.y().row(r), kCols, y.row(r));
  }
  return y;
}

void ExpectOneRanksBits(const Step& step, int num_ranks, uint32_t seed) {
  SCOPED_TRACE(testing::Message() << step.live << " rows, top " << step.top_k << " of " << step.num_experts << ", " << num_ranks << " ranks, seed "
                                  << seed);
  Layer whole(step, seed);
  const Matrix expected(kRows, kCols);
  whole.Combine(whole.y(), expected, 0, 1);
  collectives::ThreadGroup ranks(num_ranks);
  ranks.Run([&](Collectives& group) {
    Layer layer(step, seed);
    const Matrix y = OwnRows(layer, group.rank(), num_ranks), workspace(1, y.rows() * kCols), out(kRows, kCols);
    Meet(CollectiveKind::kExpertExchange, layer.ExchangeCall(y, workspace, num_ranks), layer, group);
    layer.Combine(y, out, group.rank(), num_ranks);
    Meet(CollectiveKind::kRowGather, Call({out.tensor()}), layer, group);
    EXPECT_TRUE(SameBits(out, expected)) << group.rank();   // rows that the step does not have are untouched in both
    EXPECT_TRUE(y.HasIntactPadding());
  });
}

const char* Problem(const std::function<void(KernelCall&)>& edit) {
  Layer layer({.live = 4, .top_k = 2, .num_experts = 8}, 1);
  const Matrix y(kRows * 2, kCols), workspace(1, y.rows() * kCols);
  KernelCall call = layer.ExchangeCall(y, workspace, 4);
  edit(call);
  collectives::ThreadGroup group(4);
  return CheckCollective(CollectiveKind::kExpertExchange, call, group.rank(1));
}

}  // namespace

TEST(ExpertExchange, GivesOneRanksBits) {
  uint32_t seed = 1;
  for (int num_ranks : {2, 4, 8}) {
    for (const auto& [top_k, num_experts] : std::vector<std::pair<int64_t, int64_t>>{{1, 8}, {3, 11}, {2, 4}, {8, 64}}) {
      for (int64_t live : {0, 1, 3, 13, 16}) ExpectOneRanksBits({.live = live, .top_k = top_k, .num_experts = num_experts}, num_ranks, seed++);
    }
  }
}

TEST(ExpertExchange, ChoicesThatWereDroppedDoNotTravel) {
  for (int num_ranks : {2, 4, 8}) {
    for (uint32_t seed = 1; seed < 5; ++seed)
      ExpectOneRanksBits({.live = 15, .top_k = 3, .num_experts = 9, .capacity = 2}, num_ranks, seed);   // 18 of 45 choices have room
  }
}

TEST(ExpertExchange, StaysWithinItsOperandsWhateverAPlanPutsThere) {
  for (uint32_t seed = 0; seed < 50; ++seed) {
    collectives::ThreadGroup ranks(4);
    ranks.Run([&](Collectives& group) {
      Layer layer({.live = 13, .top_k = 2, .num_experts = 8}, seed);
      layer.Spoil();
      const Matrix y(kRows * 2, kCols), workspace(1, y.rows() * kCols, y.rows() * kCols + 1024);
      Meet(CollectiveKind::kExpertExchange, layer.ExchangeCall(y, workspace, 4), layer, group);
      EXPECT_TRUE(y.HasIntactPadding() && workspace.HasIntactPadding()) << "seed " << seed;
    });
  }
}

TEST(ExpertExchange, RefusesOperandsThatDoNotFit) {
  EXPECT_EQ(Problem([](KernelCall&) {}), nullptr);
  EXPECT_STREQ(Problem([](KernelCall& call) { call.operands[0] = {}; }), "y is not an f32 matrix");
  EXPECT_STREQ(Problem([](KernelCall& call) { call.operands[0].rows -= 1; }), "y has not one row for each choice");
  EXPECT_STREQ(Problem([](KernelCall& call) { call.operands[1].dtype = DType::kF32; }), "the positions are not one for each choice");
  EXPECT_STREQ(Problem([](KernelCall& call) { call.operands[1].rows = 0; }), "the positions are not one for each choice");
  EXPECT_STREQ(Problem([](KernelCall& call) { call.operands[2].rows = 2; }), "the offsets are not one for each expert");
  EXPECT_STREQ(Problem([](KernelCall& call) { call.operands[3].cols -= 1; }), "the workspace is too small");
  EXPECT_STREQ(Problem([](KernelCall& call) { call.operands[3] = {}; }), "the workspace is too small");
  EXPECT_STREQ(Problem([](KernelCall& call) { call.params.ints[kernels::kDomain] = 1; }), "the call must follow the rows");
  for (const auto& [border, expert] : std::vector<std::pair<size_t, int64_t>>{{0, 1}, {4, 7}, {4, 9}, {2, 7}, {2, -1}}) {
    EXPECT_STREQ(Problem([&](KernelCall& call) { call.params.ints[border] = expert; }), "the ranks' experts are not all that the offsets are of");
  }
}

}  // namespace intaglio::runtime
