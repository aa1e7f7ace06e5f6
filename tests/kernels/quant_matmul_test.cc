// Products with quantised weights: at every level the bits of the plain loops below, which are the contract. The weights are random bytes,
// which every format takes for weights, with scales that are of a size.
#include <cmath>
#include <limits>

#include "kernels/matmul_tasks.h"
#include "kernels/params.h"
#include "kernels/quant_format.h"
#include "kernels/workspace.h"
#include "tests/kernels/harness.h"

namespace intaglio::kernels {
namespace {

using Borders = std::array<int64_t, kSegments + 1>;

// 1 to 2 times 2^-7, of either sign.
uint16_t RandomF16(std::mt19937& random) { return static_cast<uint16_t>(0x2000u | (random() & 0x83ffu)); }
float RandomF32(std::mt19937& random) { return std::uniform_real_distribution<float>(0.01f, 0.02f)(random); }

void FillHeader(const QuantFormat& format, std::byte* unit, std::mt19937& random) {
  const bool is_f32 = format.header == QuantHeader::kF32 || format.header == QuantHeader::kSub16;
  constexpr int kNear = 120;   // exponents of MXFP4
  for (int i = 0; i < kLanes; ++i) {
    const float f32 = RandomF32(random);
    const std::array<uint16_t, 2> f16{RandomF16(random), RandomF16(random)};
    std::array<uint8_t, 4> exponents{};
    for (uint8_t& exponent : exponents) exponent = static_cast<uint8_t>(kNear + random() % 8);
    std::byte* to = unit + 4 * i;
    if (is_f32) {
      std::memcpy(to, &f32, 4);
    } else if (format.header == QuantHeader::kExponent) {
      std::memcpy(to, exponents.data(), 4);
    } else {
      std::memcpy(to, f16.data(), 4);
    }
  }
}

// What a group of a column's weights is: integers, scale, minimum as it is added.
struct Group {
  std::vector<int> q;   // less the zero point
  float scale = 0, minimum = 0;
};

// Reads packed weights as quant_format.h describes them.
class Reader {
 public:
  Reader(DType dtype, const std::byte* packed, int64_t k) : format_(FormatOf(dtype)), packed_(packed), k_(k) {}

  [[nodiscard]] Group Read(int64_t n, int64_t begin) const {
    const std::byte* block = packed_ + n / kLanes * PackedBlockBytes(k_, format_.dtype);
    const std::byte* unit = block + begin / format_.unit_k * format_.unit_bytes();
    const int64_t lane = n % kLanes, group = begin % format_.unit_k / format_.group_k;
    Group result = Scales(unit, lane, group);
    for (int64_t k = begin; k < begin + format_.group_k; ++k) result.q.push_back(Integer(unit, lane, k % format_.unit_k));
    return result;
  }

 private:
  static float F16(const std::byte* p, int64_t i) {
    uint16_t bits = 0;
    std::memcpy(&bits, p + 2 * i, 2);
    return F16ToF32(bits);
  }
  static float F32(const std::byte* p, int64_t i) {
    float value = 0;
    std::memcpy(&value, p + 4 * i, 4);
    return value;
  }
  static int U8(const std::byte* p, int64_t i) { return static_cast<int>(p[i]); }

  [[nodiscard]] Group Scales(const std::byte* unit, int64_t lane, int64_t group) const {
    const std::byte* subs = unit + 64;
    switch (format_.header) {
      case QuantHeader::kPairF16:
        return {{}, F16(unit + 32 * group, lane), 0};
      case QuantHeader::kF32:
        return {{}, F32(unit, lane), 0};
      case QuantHeader::kF16Min:
        return {{}, F16(unit, lane), F16(unit + 32, lane)};
      case QuantHeader::kSubMin8:
        return {{},
                F16(unit, lane) * static_cast<float>(U8(subs, 32 * group + lane)),
                -(F16(unit + 32, lane) * static_cast<float>(U8(subs, 32 * group + 16 + lane)))};
      case QuantHeader::kSubMin16: {
        const int sub = U8(subs, 16 * group + lane);
        return {{}, F16(unit, lane) * static_cast<float>(sub % 16), -(F16(unit + 32, lane) * static_cast<float>(sub / 16))};
      }
      case QuantHeader::kSub16:
        return {{}, F32(unit, lane) * static_cast<float>(static_cast<int8_t>(U8(subs, 16 * group + lane))), 0};
      case QuantHeader::kExponent:
        return {{}, std::ldexp(0.5f, U8(unit, 16 * group + lane) - 127), 0};
    }
    return {};
  }

  [[nodiscard]] int Integer(const std::byte* unit, int64_t lane, int64_t k) const {
    constexpr std::array<int, 8> kDoubled{0, 1, 2, 3, 4, 6, 8, 12};
    const std::byte* run = unit + 64 * (format_.header_lines + k / 32 * format_.bits);
    const int64_t i = k % 4, step = k % 32 / 4;
    const auto bits = [&](const std::byte* lines, int count) {
      const int64_t per_line = 8 / count;
      return U8(lines + step / per_line * 64, 4 * lane + i) >> (step % per_line * count) & ((1 << count) - 1);
    };
    switch (format_.bits) {
      case 3:
        return (bits(run, 1) << 2 | bits(run + 64, 2)) - format_.zero;
      case 5:
        return (bits(run, 1) << 4 | bits(run + 64, 4)) - format_.zero;
      case 6:
        return (bits(run, 2) << 4 | bits(run + 128, 4)) - format_.zero;
      default:
        break;
    }
    const int q = bits(run, format_.bits);
    if (format_.dtype != DType::kMxfp4) return q - format_.zero;
    return q < 8 ? kDoubled[static_cast<size_t>(q)] : -kDoubled[static_cast<size_t>(q - 8)];
  }

  const QuantFormat& format_;
  const std::byte* packed_;
  int64_t k_;
};

class QuantProduct {
 public:
  QuantProduct(int64_t rows, int64_t n, int64_t k, DType dtype, uint32_t seed)
      : format_(FormatOf(dtype)),
        random_(seed),
        n_(n),
        x_(rows, k, random_),
        bias_(1, n, random_),
        workspace_(1, MatMulWorkspaceBytes(rows, k, dtype) / static_cast<int64_t>(sizeof(float))),
        weight_(1, PackedBytes(n, k, dtype) / static_cast<int64_t>(sizeof(float))) {
    std::byte* packed = weight_.tensor().data;
    std::generate_n(packed, PackedBytes(n, k, dtype), [&] { return static_cast<std::byte>(random_()); });
    for (std::byte* unit = packed; unit < packed + PackedBytes(n, k, dtype); unit += format_.unit_bytes()) FillHeader(format_, unit, random_);
    const int64_t units = format_.num_units(k);
    for (int s = 0; s <= kSegments; ++s)
      borders_[static_cast<size_t>(s)] = std::min(k, static_cast<int64_t>(random_() % static_cast<uint32_t>(units + 1)) * format_.unit_k);
    borders_.front() = 0, borders_.back() = k;
    std::ranges::sort(borders_);
  }

  [[nodiscard]] Matrix& x() { return x_; }
  [[nodiscard]] const Matrix& bias() const { return bias_; }
  [[nodiscard]] KernelCall CallInto(const Tensor& out, int64_t first_row) const {
    Tensor x = x_.tensor(), weight = weight_.tensor();
    x.data = reinterpret_cast<std::byte*>(x.f32(first_row));
    x.rows = out.rows;
    weight.rows = n_, weight.cols = x_.cols(), weight.dtype = format_.dtype;
    KernelCall call = Call({out, x, weight, bias_.tensor(), {}, workspace_.tensor()});
    std::ranges::copy(borders_, call.params.ints.begin() + matmul_params::kBorders);
    return call;
  }
  [[nodiscard]] Matrix Run(Isa isa, int64_t first_row, int64_t rows, uint32_t order_seed = 0) const {
    Matrix out(rows, n_);
    RunKernel("matmul_q", isa, CallInto(out.tensor(), first_row), {.num_rows = static_cast<int32_t>(rows)}, order_seed);
    EXPECT_TRUE(out.HasIntactPadding());
    return out;
  }

  [[nodiscard]] Matrix Expected() const {
    Matrix out(x_.rows(), n_);
    const Reader reader(format_.dtype, weight_.tensor().data, x_.cols());
    for (int64_t n = 0; n < n_; ++n) {
      std::vector<Group> groups;
      for (int64_t k = 0; k < format_.num_units(x_.cols()) * format_.unit_k; k += format_.group_k) groups.push_back(reader.Read(n, k));
      for (int64_t r = 0; r < x_.rows(); ++r) out.row(r)[n] = Element(r, groups) + bias_.row(0)[n];
    }
    return out;
  }

 private:
  struct Activations {
    float scale;
    std::vector<int> q;
  };
  [[nodiscard]] Activations Quantize(int64_t r, int64_t begin) const {
    float largest = 0;
    for (int64_t k = begin; k < std::min(x_.cols(), begin + format_.activation_k); ++k) largest = std::max(largest, std::fabs(x_.row(r)[k]));
    Activations result{largest * (1.0f / 127.0f), std::vector<int>(static_cast<size_t>(format_.activation_k))};
    for (int64_t k = begin; k < std::min(x_.cols(), begin + format_.activation_k) && largest != 0; ++k)
      result.q[static_cast<size_t>(k - begin)] = static_cast<int>(std::nearbyint(x_.row(r)[k] * (127.0f / largest)));
    return result;
  }
  [[nodiscard]] float Element(int64_t r, const std::vector<Group>& groups) const {
    std::array<float, kSegments> s{};
    for (size_t i = 0; i < s.size(); ++i) {
      for (int64_t k = borders_[i]; k < borders_[i + 1]; k += format_.group_k)
        s[i] = AddGroup(r, k, groups[static_cast<size_t>(k / format_.group_k)], s[i]);
    }
    return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
  }
  [[nodiscard]] float AddGroup(int64_t r, int64_t k, const Group& group, float sum) const {
    const Activations x = Quantize(r, k / format_.activation_k * format_.activation_k);
    int products = 0, total = 0;
    for (size_t i = 0; i < group.q.size(); ++i) {
      const int q = x.q[static_cast<size_t>(k % format_.activation_k) + i];
      products += group.q[i] * q;
      total += q;
    }
    sum = std::fma(static_cast<float>(products), x.scale * group.scale, sum);
    return format_.has_min() ? std::fma(x.scale * static_cast<float>(total), group.minimum, sum) : sum;
  }

  const QuantFormat& format_;
  std::mt19937 random_;
  int64_t n_;
  Borders borders_{};
  Matrix x_, bias_, workspace_, weight_;
};

bool IsPartOf(const Matrix& part, const Matrix& whole, int64_t first) {
  for (int64_t r = 0; r < part.rows(); ++r) {
    if (std::memcmp(part.row(r), whole.row(first + r), static_cast<size_t>(part.cols()) * sizeof(float)) != 0) return false;
  }
  return true;
}

std::vector<DType> AllFormats() {
  std::vector<DType> formats;
  for (const QuantFormat& format : kQuantFormats) formats.push_back(format.dtype);
  return formats;
}

class QuantMatMul : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(Weights, QuantMatMul, testing::ValuesIn(AllFormats()), [](const auto& info) { return std::string(Name(info.param)); });

TEST_P(QuantMatMul, EveryLevelGivesTheBitsOfTheContractForAnyNumberOfRows) {
  constexpr int64_t kRows = 14;
  for (int64_t n : {1, 40, 144}) {
    for (int64_t k : {64, 480, 768}) {
      const QuantProduct product(kRows, n, k, GetParam(), static_cast<uint32_t>(n * 1000 + k));
      const Matrix expected = product.Expected();
      for (Isa isa : SupportedIsas()) {
        for (int64_t rows = 1; rows <= kRows; rows += isa == Isa::kScalar ? 4 : 1) {
          ASSERT_TRUE(IsPartOf(product.Run(isa, kRows - rows, rows, /*order_seed=*/1), expected, kRows - rows))
              << Name(isa) << ", " << rows << " x " << n << " x " << k;
        }
      }
    }
  }
}

TEST_P(QuantMatMul, ManyRowsKeepTheBitsOfEachAlone) {
  constexpr int64_t kRows = 203;
  const QuantProduct product(kRows, 80, 512, GetParam(), /*seed=*/1);
  const Matrix expected = product.Run(Isa::kScalar, 0, kRows);
  for (Isa isa : SupportedIsas()) {
    ASSERT_TRUE(IsPartOf(product.Run(isa, 0, kRows, /*order_seed=*/2), expected, 0)) << Name(isa);
    for (int64_t row : {0, 101, 202}) ASSERT_TRUE(IsPartOf(product.Run(isa, row, 1), expected, row)) << Name(isa) << ", row " << row;
  }
}

TEST_P(QuantMatMul, WhatIsNotFiniteStaysInItsRow) {
  QuantProduct product(4, 40, 256, GetParam(), /*seed=*/2);
  const Matrix before = product.Run(Isa::kScalar, 0, 4);
  product.x().row(1)[200] = std::numeric_limits<float>::infinity();
  product.x().row(2)[3] = std::numeric_limits<float>::quiet_NaN();
  std::fill_n(product.x().row(3), 256, 0.0f);
  for (Isa isa : SupportedIsas()) {
    const Matrix out = product.Run(isa, 0, 4);
    EXPECT_EQ(std::memcmp(out.row(0), before.row(0), 40 * sizeof(float)), 0) << Name(isa);
    EXPECT_TRUE(std::all_of(out.row(1), out.row(3), [](float y) { return std::isnan(y) || y == Matrix::kSentinel; })) << Name(isa);
    EXPECT_TRUE(std::all_of(out.row(3), out.row(3) + 40, [](float y) { return std::isfinite(y); })) << Name(isa);
  }
}

// A group's scale is its own: a huge activation adds what it adds, and the other groups what they add without it, but for roundings.
TEST_P(QuantMatMul, AnOutlierTakesNothingFromOtherGroups) {
  constexpr int64_t kN = 16, kK = 512;
  constexpr float kOutlier = 1000.0f;
  QuantProduct product(3, kN, kK, GetParam(), /*seed=*/3);
  Matrix& x = product.x();
  for (int64_t r = 0; r < 2; ++r) std::copy_n(x.row(2), kK, x.row(r));
  for (int64_t r = 0; r < 2; ++r) std::fill_n(x.row(r), kK / 2, 0.0f);
  std::fill_n(x.row(2), kK, 0.0f);
  x.row(1)[0] = x.row(2)[0] = kOutlier;   // rows: the rest, both, the outlier
  const Matrix out = product.Run(SupportedIsas().back(), 0, 3);
  for (int64_t n = 0; n < kN; ++n) {
    const float bias = product.bias().row(0)[n], both = out.row(1)[n] + bias, apart = out.row(0)[n] + out.row(2)[n];
    EXPECT_NEAR(both, apart, 1e-5 * (std::fabs(out.row(2)[n]) + std::fabs(out.row(0)[n]) + 1)) << n;
  }
}

TEST(QuantMatMulCheck, RefusesWhatDoesNotFit) {
  const Kernel& kernel = *FindKernel("matmul_q", Isa::kScalar);
  const QuantProduct product(3, 40, 512, DType::kQ4_K, /*seed=*/4);
  const Matrix out(3, 40);
  const KernelCall good = product.CallInto(out.tensor(), 0);
  ASSERT_EQ(kernel.check(good), nullptr);
  KernelCall call = good;
  call.operands[2].dtype = DType::kBF16;
  EXPECT_STREQ(kernel.check(call), "the weight is not quantised");
  call = good;
  call.params.ints[matmul_params::kBorders + 1] = 32;
  std::fill_n(call.params.ints.begin() + matmul_params::kBorders + 2, kSegments - 1, 512);
  EXPECT_STREQ(kernel.check(call), "a segment begins within a unit of the weight's groups");
  call = good;
  call.operands[5].cols -= 1;
  EXPECT_STREQ(kernel.check(call), "the workspace is too small");
  EXPECT_STREQ(FindKernel("matmul_f32", Isa::kScalar)->check(good), "the weight is not f32");
}

}  // namespace
}  // namespace intaglio::kernels
