// Every way to compute a product gives the bits of the plain loops below, which are the contract: eight segments of K, each one chain of
// FMAs, added by a fixed tree; then the bias, then the residual.
#include <cmath>
#include <functional>

#include "kernels/matmul_tasks.h"
#include "kernels/pack.h"
#include "kernels/params.h"
#include "kernels/workspace.h"
#include "tests/kernels/harness.h"

namespace intaglio::kernels {
namespace {

using Borders = std::array<int64_t, kSegments + 1>;

Borders EvenBorders(int64_t k) {
  Borders borders{};
  for (int s = 0; s <= kSegments; ++s) borders[static_cast<size_t>(s)] = Part(k, s, kSegments).begin;
  return borders;
}

// Anywhere: odd ones and empty segments included.
Borders RandomBorders(int64_t k, std::mt19937& random) {
  Borders borders{};
  std::uniform_int_distribution<int64_t> border(0, k);
  std::generate(borders.begin() + 1, borders.end() - 1, [&] { return border(random); });
  borders.back() = k;
  std::ranges::sort(borders);
  return borders;
}

struct Options {
  DType dtype = DType::kF32;
  bool has_bias = false, has_residual = false;
};

// A product of random matrices: what a kernel call needs, and what it must answer.
class Product {
 public:
  Product(int64_t rows, int64_t n, int64_t k, Options options, uint32_t seed)
      : options_(options),
        random_(seed),
        borders_(RandomBorders(k, random_)),
        x_(rows, k, random_),
        weight_(n, k, random_, 0.1f),
        bias_(1, n, random_),
        residual_(rows, n, random_),
        workspace_(1, rows * k) {
    if (options.dtype == DType::kBF16) {
      for (int64_t i = 0; i < n; ++i)
        std::transform(weight_.row(i), weight_.row(i) + k, weight_.row(i), [](float w) { return Bf16ToF32(F32ToBf16(w)); });
    }
    packed_.resize(static_cast<size_t>(PackedBytes(n, k, options.dtype)) + kAlignment);
    const auto block_bytes = static_cast<size_t>(PackedBlockBytes(k, options.dtype));
    std::vector<float> rows_of_block;
    for (int64_t first = 0; first < n; first += kLanes) {
      const int64_t count = std::min<int64_t>(kLanes, n - first);
      rows_of_block.clear();
      for (int64_t i = 0; i < count; ++i) rows_of_block.insert(rows_of_block.end(), weight_.row(first + i), weight_.row(first + i) + k);
      PackBlock(rows_of_block.data(), count, k, options.dtype, {packed() + static_cast<size_t>(first / kLanes) * block_bytes, block_bytes});
    }
  }

  void set_borders(const Borders& borders) { borders_ = borders; }
  [[nodiscard]] const Matrix& x() const { return x_; }
  [[nodiscard]] const Matrix& residual() const { return residual_; }
  [[nodiscard]] std::string_view kernel() const { return options_.dtype == DType::kBF16 ? "matmul_bf16" : "matmul_f32"; }

  // The call that multiplies rows [first_row, first_row + out.rows).
  [[nodiscard]] KernelCall CallInto(const Tensor& out, int64_t first_row = 0) {
    KernelCall call = Call({out, Rows(x_, first_row, out.rows), {packed(), weight_.rows(), x_.cols(), 0, options_.dtype}});
    if (options_.has_bias) call.operands[3] = bias_.tensor();
    if (options_.has_residual) call.operands[4] = Rows(residual_, first_row, out.rows);
    call.operands[5] = workspace_.tensor();
    std::ranges::copy(borders_, call.params.ints.begin() + matmul_params::kBorders);
    return call;
  }

  [[nodiscard]] Matrix Run(Isa isa, int64_t first_row, int64_t rows, uint32_t order_seed = 0) {
    Matrix out(rows, weight_.rows());
    RunKernel(kernel(), isa, CallInto(out.tensor(), first_row), {.num_rows = static_cast<int32_t>(rows)}, order_seed);
    EXPECT_TRUE(out.HasIntactPadding());
    return out;
  }

  [[nodiscard]] Matrix Expected() const {
    Matrix out(x_.rows(), weight_.rows());
    for (int64_t r = 0; r < out.rows(); ++r) {
      for (int64_t n = 0; n < out.cols(); ++n) out.row(r)[n] = Element(r, n);
    }
    return out;
  }

 private:
  [[nodiscard]] float Element(int64_t r, int64_t n) const {
    std::array<float, kSegments> s{};
    for (size_t i = 0; i < s.size(); ++i) {
      for (int64_t k = borders_[i]; k < borders_[i + 1]; ++k) s[i] = std::fma(x_.row(r)[k], weight_.row(n)[k], s[i]);
    }
    float sum = ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
    if (options_.has_bias) sum = sum + bias_.row(0)[n];
    return options_.has_residual ? residual_.row(r)[n] + sum : sum;
  }

  static Tensor Rows(const Matrix& matrix, int64_t first, int64_t count) {
    Tensor tensor = matrix.tensor();
    tensor.data = reinterpret_cast<std::byte*>(tensor.f32(first));
    tensor.rows = count;
    return tensor;
  }

  std::byte* packed() {
    void* p = packed_.data();
    size_t space = packed_.size();
    return static_cast<std::byte*>(std::align(kAlignment, packed_.size() - kAlignment, p, space));
  }

  Options options_;
  std::mt19937 random_;
  Borders borders_;
  Matrix x_, weight_, bias_, residual_, workspace_;
  std::vector<std::byte> packed_;
};

// Rows [first, …) of `whole` are `part`.
bool IsPartOf(const Matrix& part, const Matrix& whole, int64_t first) {
  for (int64_t r = 0; r < part.rows(); ++r) {
    if (std::memcmp(part.row(r), whole.row(first + r), static_cast<size_t>(part.cols()) * sizeof(float)) != 0) return false;
  }
  return true;
}

class MatMul : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(Weights, MatMul, testing::Values(DType::kF32, DType::kBF16), [](const auto& info) { return std::string(Name(info.param)); });

TEST_P(MatMul, EveryLevelGivesTheBitsOfTheContractForAnyNumberOfRows) {
  constexpr int64_t kMaxRows = 70;
  for (int64_t n : {1, 15, 16, 17, 144, 1024}) {
    for (int64_t k : {1, 24, 64, 96, 112, 640}) {
      const auto seed = static_cast<uint32_t>(n * 1000 + k);
      Product product(kMaxRows, n, k, {.dtype = GetParam(), .has_bias = k % 3 == 1, .has_residual = n % 2 == 0}, seed);
      const Matrix expected = product.Expected();
      for (Isa isa : SupportedIsas()) {
        // The scalar level is slow, and the widest product large: some heights are enough.
        const int64_t row_step = isa == Isa::kScalar ? 23 : n == 1024 ? 5 : 1;
        for (int64_t rows = 1; rows <= kMaxRows; rows += row_step) {
          ASSERT_TRUE(IsPartOf(product.Run(isa, kMaxRows - rows, rows), expected, kMaxRows - rows))
              << Name(isa) << ", " << rows << " x " << n << " x " << k << ", seed " << seed;
        }
      }
    }
  }
}

TEST_P(MatMul, ARowAloneHasTheBitsItHasAmongOthers) {
  Product product(70, 144, 112, {.dtype = GetParam()}, /*seed=*/1);
  for (Isa isa : SupportedIsas()) {
    const Matrix together = product.Run(isa, 0, 70);
    for (int64_t row = 0; row < 70; ++row) ASSERT_TRUE(IsPartOf(product.Run(isa, row, 1), together, row)) << Name(isa) << ", row " << row;
  }
}

TEST_P(MatMul, SegmentsMayBeEmptyOddOrAllOfK) {
  constexpr int64_t kK = 97;
  Product product(30, 17, kK, {.dtype = GetParam()}, /*seed=*/2);
  for (const Borders& borders :
       {Borders{0, 0, 0, 0, 0, 0, 0, 0, kK}, Borders{0, kK, kK, kK, kK, kK, kK, kK, kK}, Borders{0, 1, 2, 3, 3, 50, 51, 96, kK}}) {
    product.set_borders(borders);
    const Matrix expected = product.Expected();
    for (Isa isa : SupportedIsas()) {
      for (int64_t rows : {1, 30}) EXPECT_TRUE(IsPartOf(product.Run(isa, 0, rows), expected, 0)) << Name(isa) << ", " << rows << " rows";
    }
  }
}

TEST_P(MatMul, LongSegmentsAndManyRowsKeepTheBits) {
  Product long_segments(26, 40, 5001, {.dtype = GetParam()}, /*seed=*/3);
  long_segments.set_borders({0, 1025, 1025, 3001, 3002, 3003, 3004, 4100, 5001});
  Product many_rows(203, 80, 48, {.dtype = GetParam(), .has_bias = true, .has_residual = true}, /*seed=*/4);
  for (Product* product : {&long_segments, &many_rows}) {
    const Matrix expected = product->Expected();
    for (Isa isa : SupportedIsas()) EXPECT_TRUE(SameBits(product->Run(isa, 0, expected.rows()), expected)) << Name(isa);
  }
}

TEST_P(MatMul, TasksMayRunInAnyOrder) {
  Product product(203, 1024, 64, {.dtype = GetParam()}, /*seed=*/5);
  for (Isa isa : SupportedIsas()) {
    const Matrix in_order = product.Run(isa, 0, 203);
    for (uint32_t order_seed : {1, 2, 3})
      EXPECT_TRUE(SameBits(product.Run(isa, 0, 203, order_seed), in_order)) << Name(isa) << ", order " << order_seed;
  }
}

TEST_P(MatMul, TheResidualMayBeTheOutput) {
  Product product(9, 70, 96, {.dtype = GetParam(), .has_residual = true}, /*seed=*/6);
  const Matrix expected = product.Expected();
  for (Isa isa : SupportedIsas()) {
    Matrix out(9, 70);
    for (int64_t r = 0; r < 9; ++r) std::copy_n(product.residual().row(r), 70, out.row(r));
    KernelCall call = product.CallInto(out.tensor());
    call.operands[4] = out.tensor();
    RunKernel(product.kernel(), isa, call, {.num_rows = 9});
    EXPECT_TRUE(SameBits(out, expected)) << Name(isa);
  }
}

TEST_P(MatMul, ColumnsBesideAnOutputSliceStayAsTheyAre) {
  constexpr int64_t kBegin = 5, kCols = 37, kWidth = 64;
  Product product(20, kCols, 96, {.dtype = GetParam()}, /*seed=*/7);
  const Matrix expected = product.Expected();
  for (Isa isa : SupportedIsas()) {
    const Matrix wide(20, kWidth);
    Tensor slice = wide.tensor();
    slice.data += kBegin * sizeof(float);
    slice.cols = kCols;
    RunKernel(product.kernel(), isa, product.CallInto(slice), {.num_rows = 20});
    for (int64_t r = 0; r < 20; ++r) {
      EXPECT_EQ(std::memcmp(wide.row(r) + kBegin, expected.row(r), kCols * sizeof(float)), 0) << Name(isa);
      const auto is_untouched = [](float x) { return x == Matrix::kSentinel; };
      EXPECT_TRUE(std::all_of(wide.row(r), wide.row(r) + kBegin, is_untouched)) << Name(isa);
      EXPECT_TRUE(std::all_of(wide.row(r) + kBegin + kCols, wide.row(r) + kWidth, is_untouched)) << Name(isa);
    }
  }
}

TEST_P(MatMul, OnlyLiveRowsOfTheDomainAreComputed) {
  Product product(40, 33, 64, {.dtype = GetParam()}, /*seed=*/8);
  const Matrix expected = product.Expected();
  for (Isa isa : SupportedIsas()) {
    for (Domain domain : {Domain::kRows, Domain::kOutputs}) {
      const Matrix out(40, 33);
      KernelCall call = product.CallInto(out.tensor());
      call.params.ints[kDomain] = static_cast<int64_t>(domain);
      RunKernel(product.kernel(), isa, call,
                domain == Domain::kRows ? StepView{.num_rows = 7, .num_outputs = 3} : StepView{.num_rows = 9, .num_outputs = 7});
      for (int64_t r = 0; r < 40; ++r) {
        if (r < 7) {
          EXPECT_EQ(std::memcmp(out.row(r), expected.row(r), 33 * sizeof(float)), 0) << Name(isa) << ", row " << r;
        } else {
          EXPECT_TRUE(std::all_of(out.row(r), out.row(r) + 33, [](float x) { return x == Matrix::kSentinel; })) << Name(isa) << ", row " << r;
        }
      }
    }
  }
}

// What a hostile plan could ask for.
class MatMulCheck : public testing::Test {
 protected:
  MatMulCheck() { product_.set_borders(EvenBorders(64)); }

  [[nodiscard]] std::string Problem(const std::function<void(KernelCall&)>& spoil) {
    KernelCall call = product_.CallInto(out_.tensor());
    spoil(call);
    const char* problem = FindKernel("matmul_f32", Isa::kScalar)->check(call);
    return problem == nullptr ? "" : problem;
  }

  Product product_{4, 32, 64, {.has_bias = true, .has_residual = true}, /*seed=*/9};
  Matrix out_{4, 32};
};

TEST_F(MatMulCheck, AcceptsWhatFits) {
  EXPECT_EQ(Problem([](KernelCall&) {}), "");
}

TEST_F(MatMulCheck, RefusesOperandsThatDoNotFit) {
  EXPECT_EQ(Problem([](KernelCall& c) { c.operands[0].cols = 16; }), "the output has another number of columns than the weight has rows");
  EXPECT_EQ(Problem([](KernelCall& c) { c.operands[1].cols = 63; }), "the weight has another number of columns than its input or output");
  EXPECT_EQ(Problem([](KernelCall& c) { c.operands[1].rows = 3; }), "input and output differ in rows");
  EXPECT_EQ(Problem([](KernelCall& c) { c.operands[2].dtype = DType::kBF16; }), "the weight is not f32");
  EXPECT_EQ(Problem([](KernelCall& c) { c.operands[3].cols = 31; }), "the bias is not one row of the output's width");
  EXPECT_EQ(Problem([](KernelCall& c) { c.operands[4].rows = 2; }), "the residual is shaped unlike the output");
  EXPECT_EQ(Problem([](KernelCall& c) {
              c.operands[5].cols = 4 * 64 - 1;
              c.operands[5].stride = 4 * 64 - 1;
            }),
            "the workspace is too small");
  EXPECT_EQ(Problem([](KernelCall& c) { c.operands[5] = {}; }), "the workspace is not a dense f32 matrix");
}

TEST_F(MatMulCheck, RefusesSegmentsThatDoNotCoverK) {
  EXPECT_EQ(Problem([](KernelCall& c) { c.params.ints[0] = 1; }), "the segments do not cover K");
  EXPECT_EQ(Problem([](KernelCall& c) { c.params.ints[8] = 65; }), "the segments do not cover K");
  EXPECT_EQ(Problem([](KernelCall& c) { c.params.ints[3] = 65; }), "the borders of the segments do not ascend");
  EXPECT_EQ(Problem([](KernelCall& c) { c.params.ints[3] = -1; }), "the borders of the segments do not ascend");
}

TEST(MatMulCut, CoversEveryRowAndColumnOnce) {
  for (int64_t rows : {1, 2, 95, 96, 97, 512}) {
    for (int64_t n : {1, 16, 17, 640, 151936}) {
      KernelCall call = Call({{nullptr, rows, n, n, DType::kF32}, {}, {nullptr, n, 640, 0, DType::kBF16}});
      const MatMulCut cut = CutMatMul(call, {.num_rows = static_cast<int32_t>(rows)});
      EXPECT_GE(cut.block_groups * cut.blocks_per_task, cut.blocks);
      EXPECT_LT((cut.block_groups - 1) * cut.blocks_per_task, cut.blocks);
      EXPECT_EQ(Part(rows, 0, cut.row_chunks).begin, 0);
      EXPECT_EQ(Part(rows, cut.row_chunks - 1, cut.row_chunks).end, rows);
      for (int64_t i = 0; i < cut.row_chunks; ++i) {
        const IndexRange chunk = Part(rows, i, cut.row_chunks);
        EXPECT_GT(chunk.end, chunk.begin);
        EXPECT_LE(chunk.end - chunk.begin, kMatMulChunkRows);
      }
    }
  }
}

}  // namespace
}  // namespace intaglio::kernels
