#include <cmath>

#include "kernels/pack.h"
#include "kernels/params.h"
#include "tests/kernels/harness.h"

namespace intaglio::kernels {
namespace {

constexpr int64_t kVocab = 37, kWidth = 45;   // neither a multiple of a lane count, the width odd

class Embed : public testing::TestWithParam<DType> {
 protected:
  Embed() : random_(1), table_(kVocab, kWidth, random_), packed_(static_cast<size_t>(PackedBytes(kVocab, kWidth, GetParam()))) {
    const auto block_bytes = static_cast<size_t>(PackedBlockBytes(kWidth, GetParam()));
    for (int64_t first = 0; first < kVocab; first += kLanes) {
      std::vector<float> rows;
      for (int64_t i = first; i < std::min(first + kLanes, kVocab); ++i) rows.insert(rows.end(), table_.row(i), table_.row(i) + kWidth);
      PackBlock(rows.data(), std::ssize(rows) / kWidth, kWidth, GetParam(),
                {packed_.data() + static_cast<size_t>(first / kLanes) * block_bytes, block_bytes});
    }
  }

  [[nodiscard]] KernelCall CallInto(const Matrix& out) {
    KernelCall call = Call({out.tensor(), {packed_.data(), kVocab, kWidth, 0, GetParam()}});
    call.params.floats[embed_params::kScale] = 25.25f;
    return call;
  }
  [[nodiscard]] float Expected(int32_t token, int64_t k) const {
    const float value = table_.row(token)[k];
    return (GetParam() == DType::kBF16 ? Bf16ToF32(F32ToBf16(value)) : value) * 25.25f;
  }
  [[nodiscard]] std::string_view kernel() const { return GetParam() == DType::kBF16 ? "embed_bf16" : "embed_f32"; }

  std::mt19937 random_;
  Matrix table_;
  std::vector<std::byte> packed_;
};
INSTANTIATE_TEST_SUITE_P(Tables, Embed, testing::Values(DType::kF32, DType::kBF16), [](const auto& info) { return std::string(Name(info.param)); });

TEST_P(Embed, GathersTheRowsOfTheTokensScaled) {
  const std::vector<int32_t> tokens = {0, 36, 15, 16, 31, 32, 15};
  const auto num_rows = static_cast<int32_t>(tokens.size());
  for (Isa isa : SupportedIsas()) {
    const Matrix out(num_rows, kWidth);
    RunKernel(kernel(), isa, CallInto(out), {.num_rows = num_rows, .tokens = tokens.data()});
    EXPECT_TRUE(out.HasIntactPadding());
    for (int32_t r = 0; r < num_rows; ++r) {
      for (int64_t k = 0; k < kWidth; ++k)
        ASSERT_EQ(out.row(r)[k], Expected(tokens[static_cast<size_t>(r)], k)) << Name(isa) << ", row " << r << ", k " << k;
    }
  }
}

TEST_P(Embed, GivesMinusZeroForTokensThatTheTableDoesNotHave) {
  const std::vector<int32_t> tokens = {-1, kVocab, 99, 100 + kVocab, 100};
  for (Isa isa : SupportedIsas()) {
    const Matrix out(5, kWidth);
    KernelCall call = CallInto(out);
    call.params.ints[embed_params::kFirstId] = 100;
    RunKernel(kernel(), isa, call, {.num_rows = 5, .tokens = tokens.data()});
    EXPECT_TRUE(out.HasIntactPadding());
    for (int64_t k = 0; k < kWidth; ++k) {
      for (int64_t r = 0; r < 4; ++r) ASSERT_TRUE(out.row(r)[k] == 0.0f && std::signbit(out.row(r)[k])) << Name(isa) << ", row " << r;
      ASSERT_EQ(out.row(4)[k], Expected(0, k)) << Name(isa);
    }
  }
}

TEST_P(Embed, RefusesATableOfAnotherWidthOrType) {
  const Matrix out(1, kWidth);
  KernelCall call = CallInto(out);
  const Kernel::Check check = FindKernel(kernel(), Isa::kScalar)->check;
  call.operands[1].cols = kWidth + 1;
  EXPECT_STREQ(check(call), "the weight has another number of columns than its input or output");
  call = CallInto(out);
  call.operands[1].dtype = GetParam() == DType::kF32 ? DType::kBF16 : DType::kF32;
  EXPECT_NE(check(call), nullptr);
}

}  // namespace
}  // namespace intaglio::kernels
