// Ranks that share a product, a norm, experts or a table end in one rank's bits, signed zeros included: each sums its own subtree of the
// canonical segments, and the group adds those by its tree.
#include <cmath>

#include "kernels/params.h"
#include "tests/kernels/rank_harness.h"

namespace intaglio::kernels {
namespace {

constexpr uint32_t kSeed = 23;

using Borders = std::array<int64_t, kSegments + 1>;

// What a rank of so many owns: segments [first, first + leaves), and of K the range [begin, end) with segments of its own.
struct Place {
  int first, leaves;
  int64_t begin = 0, end = 0;

  Place(int rank, int num_ranks) : first(kSegments * rank / num_ranks), leaves(kSegments / num_ranks) {}
  Place(int rank, int num_ranks, const Borders& borders) : Place(rank, num_ranks) {
    begin = borders[static_cast<size_t>(first)];
    end = borders[static_cast<size_t>(first + leaves)];
  }
  [[nodiscard]] int64_t size() const { return end - begin; }
  void WriteBorders(const Borders& borders, KernelCall* call) const {
    for (int s = 0; s <= kSegments; ++s)
      call->params.ints[static_cast<size_t>(s)] = borders[static_cast<size_t>(std::min(first + s, first + leaves))] - begin;
    call->params.ints[kLeaves] = leaves;
  }
};

Matrix Columns(const Matrix& whole, int64_t begin, int64_t end) {
  Matrix part(whole.rows(), end - begin);
  for (int64_t r = 0; r < part.rows(); ++r) std::copy_n(whole.row(r) + begin, part.cols(), part.row(r));
  return part;
}

// A packed matrix.
class Packed {
 public:
  Packed(const Matrix& weight, DType dtype) : n_(weight.rows()), k_(weight.cols()), dtype_(dtype) {
    bytes_.resize(static_cast<size_t>(PackedBytes(n_, k_, dtype)) + kAlignment);
    const auto block_bytes = static_cast<size_t>(PackedBlockBytes(k_, dtype));
    for (int64_t first = 0; first < n_; first += kLanes) {
      const int64_t count = std::min<int64_t>(kLanes, n_ - first);
      std::vector<float> rows;
      for (int64_t i = 0; i < count; ++i) rows.insert(rows.end(), weight.row(first + i), weight.row(first + i) + k_);
      PackBlock(rows.data(), count, k_, dtype, {data() + static_cast<size_t>(first / kLanes) * block_bytes, block_bytes});
    }
  }
  [[nodiscard]] Tensor tensor() { return {data(), n_, k_, 0, dtype_}; }

 private:
  std::byte* data() {
    void* p = bytes_.data();
    size_t space = bytes_.size();
    return static_cast<std::byte*>(std::align(kAlignment, bytes_.size() - kAlignment, p, space));
  }
  int64_t n_, k_;
  DType dtype_;
  std::vector<std::byte> bytes_;
};

// Even segments, none of them empty, so that a total of -0 can survive; then odd and empty ones.
const std::vector<Borders>& AllBorders() {
  static const std::vector<Borders> all{{0, 12, 24, 36, 48, 60, 72, 84, 96},
                                        {0, 7, 7, 30, 31, 60, 60, 60, 96},
                                        {0, 0, 0, 0, 5, 5, 96, 96, 96},
                                        {0, 1, 3, 20, 41, 42, 77, 80, 96},
                                        {0, 96, 96, 96, 96, 96, 96, 96, 96}};
  return all;
}

class RankMatMul : public testing::TestWithParam<DType> {
 protected:
  static constexpr int64_t kRows = 5, kCols = 37, kK = 96;

  // Column 0 and row 0 are so small that each product is rounded to a zero of its sign.
  RankMatMul() : random_(kSeed), x_(kRows, kK, random_), weight_(kCols, kK, random_), bias_(1, kCols, random_), residual_(kRows, kCols, random_) {
    std::fill_n(x_.row(0), kK, -1e-30f);
    std::fill_n(weight_.row(0), kK, 1e-30f);
  }

  Matrix Multiply(Isa isa, const Place& place, const Borders& borders, bool has_rest) {
    Matrix out(kRows, kCols);
    if (place.size() == 0) {
      RunKernel("zeros", isa, Call({out.tensor()}), Step(kRows));
      return out;
    }
    const Matrix x = Columns(x_, place.begin, place.end), workspace(1, kRows * kK);
    Packed weight(Columns(weight_, place.begin, place.end), GetParam());
    KernelCall call = Call({out.tensor(), x.tensor(), weight.tensor()});
    if (has_rest) call.operands[3] = bias_.tensor(), call.operands[4] = residual_.tensor();
    call.operands[5] = workspace.tensor();
    place.WriteBorders(borders, &call);
    RunKernel(GetParam() == DType::kF32 ? "matmul_f32" : "matmul_bf16", isa, call, Step(kRows), kSeed);
    return out;
  }

  std::mt19937 random_;
  Matrix x_, weight_, bias_, residual_;
};
INSTANTIATE_TEST_SUITE_P(Weights, RankMatMul, testing::Values(DType::kF32, DType::kBF16),
                         [](const auto& info) { return std::string(Name(info.param)); });

TEST_P(RankMatMul, SubtreesOfRanksAddUpToOneRanksBits) {
  for (const Borders& borders : AllBorders()) {
    const Matrix expected = Multiply(Isa::kScalar, {0, 1, borders}, borders, /*has_rest=*/false);
    for (Isa isa : SupportedIsas()) {
      for (int num_ranks : {1, 2, 4, 8}) {
        std::vector<Matrix> parts;
        for (int rank = 0; rank < num_ranks; ++rank) parts.push_back(Multiply(isa, {rank, num_ranks, borders}, borders, /*has_rest=*/false));
        ASSERT_TRUE(SameBits(AddRanks(parts), expected)) << Name(isa) << ", " << num_ranks << " ranks, borders[1] " << borders[1];
      }
    }
  }
}

TEST_P(RankMatMul, ATotalOfMinusZeroSurvives) {
  const Borders& borders = AllBorders()[0];
  const Matrix one = Multiply(Isa::kScalar, {0, 2, borders}, borders, /*has_rest=*/false);
  EXPECT_TRUE(one.row(0)[0] == 0.0f && std::signbit(one.row(0)[0]));
}

TEST_P(RankMatMul, BiasAndResidualAfterTheSumAreTheFusedOnes) {
  const Borders& borders = AllBorders()[1];
  for (Isa isa : SupportedIsas()) {
    std::vector<Matrix> parts;
    for (int rank = 0; rank < 2; ++rank) parts.push_back(Multiply(isa, {rank, 2, borders}, borders, /*has_rest=*/false));
    const Matrix sum = AddRanks(parts);
    RunKernel("add_bias", isa, Call({sum.tensor(), sum.tensor(), bias_.tensor()}), Step(kRows));
    RunKernel("add", isa, Call({sum.tensor(), residual_.tensor(), sum.tensor()}), Step(kRows));
    EXPECT_TRUE(SameBits(sum, Multiply(isa, {0, 1, borders}, borders, /*has_rest=*/true))) << Name(isa);
  }
}

TEST_P(RankMatMul, RefusesLeavesThatLeaveSegmentsOut) {
  const Matrix out(1, kCols), x(1, kK);
  Packed weight(weight_, GetParam());
  KernelCall call = Call({out.tensor(), x.tensor(), weight.tensor()});
  Place(0, 1).WriteBorders(AllBorders()[0], &call);
  const Kernel::Check check = FindKernel(GetParam() == DType::kF32 ? "matmul_f32" : "matmul_bf16", Isa::kScalar)->check;
  for (const int64_t leaves : {-1, 3, 5, 16, 1 << 20}) {
    call.params.ints[kLeaves] = leaves;
    EXPECT_STREQ(check(call), "the number of leaves is not 1, 2, 4 or 8") << leaves;
  }
  call.params.ints[kLeaves] = 4;
  EXPECT_STREQ(check(call), "a segment is past the leaves");
  for (size_t s = 4; s <= kSegments; ++s) call.params.ints[s] = kK;
  EXPECT_EQ(check(call), nullptr);
}

// A norm over 96 columns of which each rank has those of its segments.
Matrix NormByRanks(Isa isa, const Matrix& x, const Matrix& weight, const Borders& borders, int num_ranks) {
  std::vector<Matrix> sums;
  for (int rank = 0; rank < num_ranks; ++rank) {
    const Place place(rank, num_ranks, borders);
    sums.emplace_back(x.rows(), 1);
    // Two columns in front and one behind do not count.
    const Matrix own = Columns(x, place.begin, place.end), wide(x.rows(), own.cols() + 3, 0);
    for (int64_t r = 0; r < x.rows(); ++r) std::copy_n(own.row(r), own.cols(), wide.row(r) + 2);
    KernelCall call = Call({sums.back().tensor(), wide.tensor()});
    place.WriteBorders(borders, &call);
    std::copy_backward(call.params.ints.begin(), call.params.ints.begin() + kSegments + 1, call.params.ints.begin() + kSegments + 2);
    for (size_t s = 0; s <= kSegments; ++s) call.params.ints[norm_params::kBorders + s] += 2;
    RunKernel("square_sum", isa, call, Step(x.rows()));
    EXPECT_TRUE(sums.back().HasIntactPadding());
  }
  const Matrix sum = AddRanks(sums);
  Matrix out(x.rows(), x.cols());
  for (int rank = 0; rank < num_ranks; ++rank) {
    const Place place(rank, num_ranks, borders);
    if (place.size() == 0) continue;
    const Matrix part = Columns(x, place.begin, place.end), own_weight = Columns(weight, place.begin, place.end);
    KernelCall call = Call({part.tensor(), part.tensor(), sum.tensor(), own_weight.tensor()});
    call.params.ints[norm_params::kWidth] = x.cols();
    call.params.floats[norm_params::kEps] = 1e-6f;
    RunKernel("norm_by", isa, call, Step(x.rows()));
    EXPECT_TRUE(part.HasIntactPadding());
    for (int64_t r = 0; r < x.rows(); ++r) std::copy_n(part.row(r), place.size(), out.row(r) + place.begin);
  }
  return out;
}

TEST(RankNorm, SquareSumsOfRanksGiveTheSegmentedNorm) {
  std::mt19937 random(kSeed);
  const Matrix x(3, 96, random), weight(1, 96, random);
  for (const Borders& borders : AllBorders()) {
    const Matrix expected(3, 96);
    KernelCall call = Call({expected.tensor(), x.tensor(), weight.tensor()});
    call.params.ints[norm_params::kWidth] = 96;
    std::ranges::copy(borders, call.params.ints.begin() + norm_params::kBorders);
    call.params.floats[norm_params::kEps] = 1e-6f;
    RunKernel("rms_norm", Isa::kScalar, call, Step(3));
    for (Isa isa : SupportedIsas()) {
      for (int num_ranks : {1, 2, 4, 8}) EXPECT_TRUE(SameBits(NormByRanks(isa, x, weight, borders, num_ranks), expected)) << Name(isa) << num_ranks;
    }
  }
}

TEST(RankNorm, RefusesSegmentsOutsideTheInput) {
  const Matrix x(3, 96), out(3, 1);
  KernelCall good = Call({out.tensor(), x.tensor()});
  std::ranges::copy(Borders{8, 8, 8, 8, 8, 8, 8, 8, 96}, good.params.ints.begin() + norm_params::kBorders);
  const Kernel::Check check = FindKernel("square_sum", Isa::kScalar)->check;
  EXPECT_EQ(check(good), nullptr);
  for (const auto& [index, value] : {std::pair(0, -1), std::pair(8, 97), std::pair(4, 7)}) {
    KernelCall bad = good;
    bad.params.ints[static_cast<size_t>(norm_params::kBorders + index)] = value;
    EXPECT_STREQ(check(bad), "the segments are not ascending within the input");
  }
  good.params.ints[kLeaves] = 4;
  EXPECT_STREQ(check(good), "a segment is past the leaves");
}

TEST(RankEmbed, PartsOfAVocabularyAddUpToTheTable) {
  constexpr int64_t kVocab = 150, kWidth = 21;
  std::mt19937 random(kSeed);
  Matrix table(kVocab, kWidth, random);
  for (int64_t id = 0; id < kVocab; ++id) table.row(id)[id % kWidth] = -0.0f;
  const std::vector<int32_t> tokens{0, 149, 15, 16, 47, 48, 80, 31, 32, 127, 128};
  const auto embed = [&](Isa isa, int64_t first, int64_t end) {
    Matrix out(std::ssize(tokens), kWidth), part(end - first, kWidth);
    for (int64_t id = first; id < end; ++id) std::copy_n(table.row(id), kWidth, part.row(id - first));
    Packed packed(part, DType::kF32);
    KernelCall call = Call({out.tensor(), packed.tensor()});
    call.params.ints[embed_params::kFirstId] = first;
    call.params.floats[embed_params::kScale] = 3.5f;
    RunKernel("embed_f32", isa, call, {.num_rows = static_cast<int32_t>(tokens.size()), .tokens = tokens.data()});
    return out;
  };
  const Matrix expected = embed(Isa::kScalar, 0, kVocab);
  for (Isa isa : SupportedIsas()) {
    for (const std::vector<int64_t>& borders : {std::vector<int64_t>{0, 64, 150}, {0, 32, 80, 112, 150}, {0, 16, 32, 48, 80, 96, 112, 128, 150}}) {
      std::vector<Matrix> parts;
      for (size_t rank = 0; rank + 1 < borders.size(); ++rank) parts.push_back(embed(isa, borders[rank], borders[rank + 1]));
      EXPECT_TRUE(SameBits(AddRanks(parts), expected)) << Name(isa) << ", " << parts.size() << " ranks";
    }
  }
}

}  // namespace
}  // namespace intaglio::kernels
