// Kernels that carry a state from token to token: against double, and by memcmp over levels, cuts of a sequence into steps, neighbours and
// rows that are computed again.
#include <array>
#include <cmath>

#include "harness.h"
#include "kernels/params.h"

namespace intaglio::kernels {
namespace {

constexpr uint32_t kSeed = 11;
constexpr int64_t kLength = 29, kSlots = 3;

struct Sizes {
  int64_t key_heads, value_heads, key_dim, value_dim;
  [[nodiscard]] int64_t keys() const { return key_heads * key_dim; }
  [[nodiscard]] int64_t values() const { return value_heads * value_dim; }
  [[nodiscard]] int64_t state() const { return value_heads * ((value_dim + 15) / 16) * ((key_dim + 3) / 4 * 4) * 16; }
};

Matrix CopyOf(const Matrix& x) {
  Matrix copy(x.rows(), x.cols());
  for (int64_t row = 0; row < x.rows(); ++row) std::copy_n(x.row(row), x.cols(), copy.row(row));
  return copy;
}

// Rows of one slot in a step.
struct Part {
  int64_t slot, begin, count;
};

// A kernel with its weights, its state and a random sequence for each slot.
class World {
 public:
  struct Columns {
    int64_t in, gates, out, state;
  };
  World(std::string kernel, const Columns& columns, int64_t entries, const std::vector<Matrix>& weights, const Params& params)
      : kernel_(std::move(kernel)), columns_(columns), weights_(weights), params_(params), state_(kSlots * entries, columns.state) {
    std::fill_n(state_.row(0), state_.rows() * state_.tensor().stride, std::numeric_limits<float>::quiet_NaN());
    params_.ints[state_params::kEntries] = entries;
    std::mt19937 random(kSeed);
    for (int64_t slot = 0; slot < kSlots; ++slot) {
      in.emplace_back(kLength, columns.in, random);
      gates.emplace_back(kLength, std::max<int64_t>(columns.gates, 1), random);
      out.emplace_back(kLength, columns.out);
    }
  }

  [[nodiscard]] KernelCall MakeCall(const Matrix& y, const Matrix& x, const Matrix& gate) const {
    KernelCall call = Call({y.tensor(), state_.tensor(), x.tensor()});
    size_t next = 3;
    if (columns_.gates > 0) call.operands[next++] = gate.tensor();
    for (const Matrix& weight : weights_) call.operands[next++] = weight.tensor();
    call.params = params_;
    return call;
  }

  [[nodiscard]] const Kernel& kernel() const { return *FindKernel(kernel_, Isa::kScalar); }

  // Computes the parts as one step, `out` receives the results.
  void Step(Isa isa, const std::vector<Part>& parts, uint32_t order_seed = 0) {
    int64_t rows = 0;
    for (const Part& part : parts) rows += part.count;
    const Matrix x(rows, columns_.in), gate(rows, std::max<int64_t>(columns_.gates, 1)), y(rows, columns_.out);
    std::vector<int32_t> slots, positions;
    for (const Part& part : parts) {
      for (int64_t i = part.begin; i < part.begin + part.count; ++i) {
        const auto row = static_cast<int64_t>(slots.size());
        std::copy_n(in[static_cast<size_t>(part.slot)].row(i), x.cols(), x.row(row));
        std::copy_n(gates[static_cast<size_t>(part.slot)].row(i), gate.cols(), gate.row(row));
        slots.push_back(static_cast<int32_t>(part.slot)), positions.push_back(static_cast<int32_t>(i));
      }
    }
    const StepView view{.num_rows = static_cast<int32_t>(rows), .positions = positions.data(), .slots = slots.data()};
    RunKernel(kernel_, isa, MakeCall(y, x, gate), view, order_seed);
    EXPECT_TRUE(y.HasIntactPadding());
    for (int64_t row = 0; row < rows; ++row)
      std::copy_n(y.row(row), y.cols(), out[static_cast<size_t>(slots[static_cast<size_t>(row)])].row(positions[static_cast<size_t>(row)]));
  }

  std::vector<Matrix> in, gates, out;   // by slot

 private:
  const std::string kernel_;
  const Columns columns_;
  const std::vector<Matrix>& weights_;
  Params params_;
  Matrix state_;
};

double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double Softplus(double x) { return std::log1p(std::exp(x)); }

// One of the three kernels, with weights drawn once, and what it means in double.
class Recurrent {
 public:
  virtual ~Recurrent() = default;
  [[nodiscard]] virtual World Make(int64_t entries) const = 0;
  [[nodiscard]] virtual Matrix Expected(const Matrix& in, const Matrix& gates) const = 0;
};

class Conv final : public Recurrent {
 public:
  Conv(int64_t cols, int64_t taps) : cols_(cols), taps_(taps) {
    std::mt19937 random(kSeed + 1);
    weights_.emplace_back(taps, cols, random), weights_.emplace_back(1, cols, random);
  }
  World Make(int64_t entries) const override {
    return {"causal_conv", {.in = cols_, .gates = 0, .out = cols_, .state = cols_}, entries + taps_ - 2, weights_, {}};
  }
  Matrix Expected(const Matrix& in, const Matrix&) const override {
    Matrix out(kLength, cols_);
    for (int64_t row = 0; row < kLength; ++row) {
      for (int64_t col = 0; col < cols_; ++col) {
        double sum = weights_[1].row(0)[col];
        for (int64_t tap = 0; tap < taps_; ++tap) {
          const int64_t source = row - taps_ + 1 + tap;
          if (source >= 0) sum += static_cast<double>(in.row(source)[col]) * weights_[0].row(tap)[col];
        }
        out.row(row)[col] = static_cast<float>(sum * Sigmoid(sum));
      }
    }
    return out;
  }

 private:
  const int64_t cols_, taps_;
  std::vector<Matrix> weights_;
};

// What the two recurrences share.
class StateSpace : public Recurrent {
 public:
  StateSpace(const Sizes& sizes, int num_weights) : s_(sizes) {
    std::mt19937 random(kSeed + 2);
    for (int i = 0; i < num_weights; ++i) weights_.emplace_back(1, sizes.value_heads, random);
    using namespace recurrence_params;
    params_.ints[kKeyHeads] = sizes.key_heads, params_.ints[kValueHeads] = sizes.value_heads;
    params_.ints[kKeyDim] = sizes.key_dim, params_.ints[kValueDim] = sizes.value_dim;
    params_.floats[kMostStep] = 1.5f;
  }

 protected:
  [[nodiscard]] int64_t KeyHead(int64_t head) const { return head / (s_.value_heads / s_.key_heads); }
  [[nodiscard]] double Weight(size_t i, int64_t head) const { return weights_[i].row(0)[head]; }

  const Sizes s_;
  std::vector<Matrix> weights_;
  Params params_;
};

class Delta final : public StateSpace {
 public:
  explicit Delta(const Sizes& sizes) : StateSpace(sizes, 2) {}
  World Make(int64_t entries) const override {
    return {"gated_delta_rule",
            {.in = 2 * s_.keys() + s_.values(), .gates = 2 * s_.value_heads, .out = s_.values(), .state = s_.state()},
            entries,
            weights_,
            params_};
  }
  Matrix Expected(const Matrix& in, const Matrix& gates) const override {
    Matrix out(kLength, s_.values());
    for (int64_t head = 0; head < s_.value_heads; ++head) {
      std::vector<double> state(static_cast<size_t>(s_.key_dim * s_.value_dim));
      for (int64_t row = 0; row < kLength; ++row) {
        const std::vector<double> q = Unit(in.row(row) + KeyHead(head) * s_.key_dim), k = Unit(in.row(row) + s_.keys() + KeyHead(head) * s_.key_dim);
        const double beta = Sigmoid(gates.row(row)[head]);
        const double decay = std::exp(-std::exp(Weight(0, head)) * Softplus(gates.row(row)[s_.value_heads + head] + Weight(1, head)));
        for (int64_t col = 0; col < s_.value_dim; ++col) {
          const auto cell = [&](size_t i) -> double& { return state[i * static_cast<size_t>(s_.value_dim) + static_cast<size_t>(col)]; };
          double known = 0, sum = 0;
          for (size_t i = 0; i < k.size(); ++i) known += (cell(i) *= decay) * k[i];
          const double change = beta * (in.row(row)[2 * s_.keys() + head * s_.value_dim + col] - known);
          for (size_t i = 0; i < k.size(); ++i) sum += (cell(i) += k[i] * change) * q[i];
          out.row(row)[head * s_.value_dim + col] = static_cast<float>(sum / std::sqrt(static_cast<double>(s_.key_dim)));
        }
      }
    }
    return out;
  }

 private:
  [[nodiscard]] std::vector<double> Unit(const float* x) const {
    double squares = 1e-6;
    for (int64_t i = 0; i < s_.key_dim; ++i) squares += static_cast<double>(x[i]) * x[i];
    std::vector<double> unit;
    for (int64_t i = 0; i < s_.key_dim; ++i) unit.push_back(x[i] / std::sqrt(squares));
    return unit;
  }
};

class Scan final : public StateSpace {
 public:
  explicit Scan(const Sizes& sizes) : StateSpace(sizes, 3) {}
  World Make(int64_t entries) const override {
    return {"ssm_scan",
            {.in = 2 * s_.keys() + s_.values(), .gates = s_.value_heads, .out = s_.values(), .state = s_.state()},
            entries,
            weights_,
            params_};
  }
  Matrix Expected(const Matrix& in, const Matrix& gates) const override {
    Matrix out(kLength, s_.values());
    for (int64_t head = 0; head < s_.value_heads; ++head) {
      std::vector<double> state(static_cast<size_t>(s_.key_dim * s_.value_dim));
      for (int64_t row = 0; row < kLength; ++row) {
        const double step = std::min(Softplus(gates.row(row)[head] + Weight(1, head)), 1.5), decay = std::exp(-std::exp(Weight(0, head)) * step);
        const float *b = in.row(row) + s_.values() + KeyHead(head) * s_.key_dim, *c = b + s_.keys();
        for (int64_t col = 0; col < s_.value_dim; ++col) {
          const double x = in.row(row)[head * s_.value_dim + col];
          double sum = Weight(2, head) * x;
          for (int64_t i = 0; i < s_.key_dim; ++i) {
            double& cell = state[static_cast<size_t>(i * s_.value_dim + col)];
            cell = decay * cell + step * b[i] * x;
            sum += cell * c[i];
          }
          out.row(row)[head * s_.value_dim + col] = static_cast<float>(sum);
        }
      }
    }
    return out;
  }
};

using Maker = std::unique_ptr<Recurrent> (*)();
struct Case {
  const char* name;
  Maker make;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

// Head sizes that lanes and units of keys do not divide, key heads shared and not, convolutions wider than one task.
const Case kCases[] = {
    {"ConvOfFourTaps", [] { return std::unique_ptr<Recurrent>(new Conv(40, 4)); }},
    {"WideConvOfTwoTaps", [] { return std::unique_ptr<Recurrent>(new Conv(523, 2)); }},
    {"Delta", [] { return std::unique_ptr<Recurrent>(new Delta({2, 4, 16, 16})); }},
    {"DeltaOfOddSizes", [] { return std::unique_ptr<Recurrent>(new Delta({3, 3, 18, 24})); }},
    {"Scan", [] { return std::unique_ptr<Recurrent>(new Scan({1, 4, 16, 16})); }},
    {"ScanOfOddSizes", [] { return std::unique_ptr<Recurrent>(new Scan({2, 6, 7, 40})); }},
};

class RecurrentKernels : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    SCOPED_TRACE(testing::Message() << "seed " << kSeed);
    recurrent_ = GetParam().make();
  }
  // Slot 1, row by row, alone, in scalars.
  [[nodiscard]] Matrix Reference() const {
    World world = recurrent_->Make(2);
    for (int64_t row = 0; row < kLength; ++row) world.Step(Isa::kScalar, {{.slot = 1, .begin = row, .count = 1}});
    return std::move(world.out[1]);
  }

  std::unique_ptr<Recurrent> recurrent_;
};

TEST_P(RecurrentKernels, MatchDouble) {
  const World world = recurrent_->Make(2);
  const Matrix actual = Reference(), expected = recurrent_->Expected(world.in[1], world.gates[1]);
  for (int64_t row = 0; row < kLength; ++row) {
    for (int64_t col = 0; col < expected.cols(); ++col)
      EXPECT_NEAR(actual.row(row)[col], expected.row(row)[col], 4e-6 * std::max(1.0f, std::fabs(expected.row(row)[col]))) << row << ", " << col;
  }
}

TEST_P(RecurrentKernels, GiveTheSameBitsAtEveryLevelHoweverTheSequenceIsCut) {
  const Matrix expected = Reference();
  for (Isa isa : SupportedIsas()) {
    for (int64_t count : {int64_t{1}, int64_t{2}, int64_t{3}, int64_t{5}, int64_t{16}, kLength}) {
      World world = recurrent_->Make(4);
      for (int64_t begin = 0; begin < kLength; begin += count)
        world.Step(isa, {{.slot = 1, .begin = begin, .count = std::min(count, kLength - begin)}}, kSeed);
      EXPECT_TRUE(SameBits(world.out[1], expected)) << Name(isa) << ", steps of " << count;
    }
  }
}

TEST_P(RecurrentKernels, DoNotSeeTheNeighboursOfASlot) {
  const Matrix expected = Reference();
  World world = recurrent_->Make(3);
  for (int64_t begin = 0; begin < kLength; begin += 3) {
    const int64_t count = std::min<int64_t>(3, kLength - begin);
    world.Step(
        SupportedIsas().back(),
        {{.slot = 2, .begin = 2 * begin / 3, .count = 2}, {.slot = 1, .begin = begin, .count = count}, {.slot = 0, .begin = begin / 3, .count = 1}});
  }
  EXPECT_TRUE(SameBits(world.out[1], expected));
}

// Five entries: after a step of any size, up to four rows can be taken back.
TEST_P(RecurrentKernels, RowsTakenBackLeaveNoTrace) {
  const Matrix expected = Reference();
  std::mt19937 random(kSeed);
  const auto pick = [&](int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random); };
  for (int round = 0; round < 20; ++round) {
    World world = recurrent_->Make(5);
    for (int64_t length = 0; length < kLength;) {
      Matrix kept = CopyOf(world.in[1]);
      const int64_t count = std::min(pick(1, 8), kLength - length), accepted = count - pick(0, std::min<int64_t>(count, 4));
      for (int64_t row = length + accepted; row < length + count; ++row) std::fill_n(world.in[1].row(row), world.in[1].cols(), 0.37f);
      world.Step(SupportedIsas().back(), {{.slot = 1, .begin = length, .count = count}});
      world.in[1] = std::move(kept);
      length += accepted;
    }
    EXPECT_TRUE(SameBits(world.out[1], expected)) << "round " << round;
  }
}

TEST_P(RecurrentKernels, StartASlotAfreshWhateverItsFormerOwnerLeft) {
  const Matrix expected = Reference();
  World world = recurrent_->Make(2);
  Matrix own = CopyOf(world.in[1]);
  for (int64_t row = 0; row < kLength; ++row) std::fill_n(world.in[1].row(row), own.cols(), std::numeric_limits<float>::infinity());
  world.Step(Isa::kScalar, {{.slot = 1, .begin = 0, .count = kLength}});
  world.in[1] = std::move(own);
  world.Step(Isa::kScalar, {{.slot = 1, .begin = 0, .count = kLength}});
  EXPECT_TRUE(SameBits(world.out[1], expected));
}

TEST_P(RecurrentKernels, ASlotWithoutRoomIsLeftAlone) {
  World world = recurrent_->Make(2);
  for (std::vector<Matrix>* rows : {&world.in, &world.gates, &world.out}) rows->push_back(CopyOf(rows->front()));
  world.Step(Isa::kScalar, {{.slot = kSlots, .begin = 0, .count = 1}});
  EXPECT_EQ(world.out.back().row(0)[0], Matrix::kSentinel);
}

TEST_P(RecurrentKernels, RefuseWhatDoesNotFit) {
  const World world = recurrent_->Make(2);
  const KernelCall call = world.MakeCall(world.out[0], world.in[0], world.gates[0]);
  const auto refuses = [&](const auto& spoil) {
    KernelCall spoiled = call;
    spoil(spoiled);
    return world.kernel().check(spoiled) != nullptr;
  };
  EXPECT_FALSE(refuses([](KernelCall&) {}));
  EXPECT_TRUE(refuses([](KernelCall& c) { c.params.ints[state_params::kEntries] = 0; }));
  EXPECT_TRUE(refuses([](KernelCall& c) { c.params.ints[state_params::kEntries] = c[1].rows + 1; }));
  EXPECT_TRUE(refuses([](KernelCall& c) { c.operands[1].cols = c.operands[1].stride = c[1].cols - 1; }));
  EXPECT_TRUE(refuses([](KernelCall& c) { c.operands[2].rows -= 1; }));
  EXPECT_TRUE(refuses([](KernelCall& c) { c.params.ints[kDomain] = static_cast<int64_t>(Domain::kOutputs); }));
  for (size_t i = 0; i < 4; ++i) EXPECT_TRUE(refuses([i](KernelCall& c) { c.operands[i].data = nullptr; })) << i;
  for (size_t i = 0; i < 5; ++i) EXPECT_TRUE(refuses([i](KernelCall& c) { c.operands[i].cols += 1; }) || i == 1) << i;
}

INSTANTIATE_TEST_SUITE_P(Kernels, RecurrentKernels, testing::ValuesIn(kCases), [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace intaglio::kernels
