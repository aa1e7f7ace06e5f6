#include "compiler/quantize.h"

#include <emmintrin.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/assert.h"
#include "kernels/quant_format.h"

namespace intaglio::compiler {
namespace {

constexpr size_t kLanes = 4;   // SSE2, which every x86-64 has: element i of a group is added to sum i % 4
constexpr size_t kLargestGroup = 128;
constexpr float kLargestInt8 = 127, kLargestInt4 = 15, kLargestF16 = 65504, kLargestF32 = std::numeric_limits<float>::max();
using Group = std::span<const float>;   // of 32, 64 or 128

__m128 Load(Group group, size_t i) { return _mm_loadu_ps(group.data() + i); }

struct Lanes {
  explicit Lanes(__m128 sums) { _mm_storeu_ps(x.data(), sums); }
  [[nodiscard]] float sum() const { return (x[0] + x[2]) + (x[1] + x[3]); }
  [[nodiscard]] float least() const { return std::min(std::min(x[0], x[1]), std::min(x[2], x[3])); }
  [[nodiscard]] float most() const { return std::max(std::max(x[0], x[1]), std::max(x[2], x[3])); }
  std::array<float, kLanes> x{};
};

struct Extremes {
  float least, most;
};
// Both are NaN if something in the group is infinite or NaN: 0 x is 0 for every other x.
Extremes ExtremesOf(Group group) {
  __m128 least = Load(group, 0), most = least, poison = _mm_setzero_ps();
  for (size_t i = 0; i < group.size(); i += kLanes) {
    const __m128 x = Load(group, i);
    least = _mm_min_ps(least, x), most = _mm_max_ps(most, x);
    poison = _mm_add_ps(poison, _mm_mul_ps(x, _mm_setzero_ps()));
  }
  const float zero = Lanes(poison).sum();
  return {.least = Lanes(least).least() + zero, .most = Lanes(most).most() + zero};
}

float RoundToF16(float x) { return F16ToF32(F32ToF16(x)); }

// 0 where the step is so small that the reciprocal overflows.
float StepsPerUnit(float step) { return step > 0 && 1 / step <= kLargestF32 ? 1 / step : 0; }

// q = offset + the number of steps from `begin` to each element, rounded to the nearest (ties to even) and kept within [least, most].
struct Steps {
  float begin, per_unit, least, most;
  int offset;
};
void WriteQuants(Group group, const Steps& steps, uint8_t* q) {
  const __m128 begin = _mm_set1_ps(steps.begin), per_unit = _mm_set1_ps(steps.per_unit), least = _mm_set1_ps(steps.least),
               most = _mm_set1_ps(steps.most);
  const auto four = [&](size_t i) {
    return _mm_cvtps_epi32(_mm_min_ps(_mm_max_ps(_mm_mul_ps(_mm_sub_ps(Load(group, i), begin), per_unit), least), most));
  };
  const __m128i offset = _mm_set1_epi16(static_cast<int16_t>(steps.offset));
  for (size_t i = 0; i < group.size(); i += 4 * kLanes) {
    const __m128i low = _mm_add_epi16(_mm_packs_epi32(four(i), four(i + kLanes)), offset),
                  high = _mm_add_epi16(_mm_packs_epi32(four(i + 2 * kLanes), four(i + 3 * kLanes)), offset);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(q + i), _mm_packus_epi16(low, high));
  }
}

// False if there is no such scale.
bool QuantizeInt8(Group group, bool has_f16_scale, float& d, uint8_t* q) {
  const Extremes extremes = ExtremesOf(group);
  d = std::max(std::fabs(extremes.least), std::fabs(extremes.most)) / kLargestInt8;
  if (!(std::fabs(extremes.least) <= kLargestF32)) return false;
  if (has_f16_scale) d = RoundToF16(d);
  if (!(d <= kLargestF32)) return false;
  WriteQuants(group, {.begin = 0, .per_unit = StepsPerUnit(d), .least = -kLargestInt8, .most = kLargestInt8, .offset = 128}, q);
  return true;
}

// w = d q + m
struct Line {
  float d = 0, m = 0;
};

// Tries several ranges, takes the quants that each of them gives, and the line through these quants and the elements that leaves the least
// sum of weighted squares; the best of these lines is the answer.
class Int4Search {
 public:
  Int4Search(Group group, const Extremes& extremes) : size_(group.size()), least_(extremes.least), range_(extremes.most - extremes.least) {
    __m128 squares = _mm_setzero_ps();
    for (size_t i = 0; i < size_; i += kLanes) squares = _mm_add_ps(squares, _mm_mul_ps(Load(group, i), Load(group, i)));
    // Large elements matter more to a product. The mean square keeps small ones in the sum.
    const __m128 mean_square = _mm_set1_ps(Lanes(squares).sum() / static_cast<float>(size_)), least = _mm_set1_ps(least_);
    __m128 w = _mm_setzero_ps(), wy = w, wyy = w;
    for (size_t i = 0; i < size_; i += kLanes) {
      const __m128 x = Load(group, i), weight = _mm_add_ps(mean_square, _mm_mul_ps(x, x)), y = _mm_sub_ps(x, least), weighted = _mm_mul_ps(weight, y);
      _mm_store_ps(weights_.data() + i, weight);
      _mm_store_ps(above_.data() + i, y);
      w = _mm_add_ps(w, weight), wy = _mm_add_ps(wy, weighted), wyy = _mm_add_ps(wyy, _mm_mul_ps(weighted, y));
    }
    w_ = Lanes(w).sum(), wy_ = Lanes(wy).sum(), wyy_ = Lanes(wyy).sum();
  }

  [[nodiscard]] Line Run() const {
    Fitted best{.line = {.d = range_ / kLargestInt4, .m = 0}, .error = std::numeric_limits<float>::infinity()};
    for (const Cut& cut : kCuts) Try({.d = range_ * (1 - cut.low - cut.high) / kLargestInt4, .m = range_ * cut.low}, best);
    Try(best.line, best);
    return {.d = RoundToF16(best.line.d), .m = RoundToF16(best.line.m + least_)};
  }

 private:
  // Shares of the range that are cut off. What is in between has finer steps.
  struct Cut {
    float low, high;
  };
  static constexpr std::array<Cut, 5> kCuts{{{0, 0}, {0.03f, 0.03f}, {0.08f, 0.08f}, {0, 0.12f}, {0.12f, 0}}};

  struct Fitted {
    Line line;
    float error;
  };

  void Try(const Line& start, Fitted& best) const {
    const __m128 begin = _mm_set1_ps(start.m), per_unit = _mm_set1_ps(StepsPerUnit(start.d)), zero = _mm_setzero_ps(),
                 most = _mm_set1_ps(kLargestInt4);
    __m128 wq = zero, wqq = zero, wqy = zero;
    for (size_t i = 0; i < size_; i += kLanes) {
      const __m128 y = _mm_load_ps(above_.data() + i), steps = _mm_mul_ps(_mm_sub_ps(y, begin), per_unit);
      const __m128 q = _mm_cvtepi32_ps(_mm_cvtps_epi32(_mm_min_ps(_mm_max_ps(steps, zero), most)));
      const __m128 weighted = _mm_mul_ps(_mm_load_ps(weights_.data() + i), q);
      wq = _mm_add_ps(wq, weighted), wqq = _mm_add_ps(wqq, _mm_mul_ps(weighted, q)), wqy = _mm_add_ps(wqy, _mm_mul_ps(weighted, y));
    }
    const float sum_q = Lanes(wq).sum(), sum_qq = Lanes(wqq).sum(), sum_qy = Lanes(wqy).sum();
    const float determinant = w_ * sum_qq - sum_q * sum_q;
    if (!(determinant > 0)) return;
    const Line line{.d = (w_ * sum_qy - sum_q * wy_) / determinant, .m = (sum_qq * wy_ - sum_q * sum_qy) / determinant};
    const float error = wyy_ - line.d * sum_qy - line.m * wy_;
    if (line.d > 0 && error < best.error) best = {.line = line, .error = error};
  }

  const size_t size_;
  const float least_, range_;
  float w_ = 0, wy_ = 0, wyy_ = 0;                               // sums of weights, and of them times y and its square
  alignas(16) std::array<float, kLargestGroup> above_, weights_;   // y = x - least, and how much each counts
};

bool QuantizeInt4(Group group, Line& line, uint8_t* q) {
  const Extremes extremes = ExtremesOf(group);
  if (!(std::fabs(extremes.least) <= kLargestF16) || !(extremes.most - extremes.least <= kLargestF16)) return false;
  line = Int4Search(group, extremes).Run();
  WriteQuants(group, {.begin = line.m, .per_unit = StepsPerUnit(line.d), .least = 0, .most = kLargestInt4, .offset = 0}, q);
  return true;
}

}  // namespace

bool Quantize(DType dtype, std::span<const float> rows, int64_t num_rows, QuantizedRows& out) {
  const kernels::QuantFormat& format = kernels::FormatOf(dtype);
  const auto size = static_cast<size_t>(format.group_k), k = rows.size() / static_cast<size_t>(num_rows), groups = (k + size - 1) / size;
  const bool has_min = format.has_min();
  Assert(num_rows >= 1 && k * static_cast<size_t>(num_rows) == rows.size() && (format.bits == 8 || (format.bits == 4 && has_min)));
  const size_t count = static_cast<size_t>(num_rows) * groups;
  out.num_rows = num_rows, out.k = static_cast<int64_t>(groups * size);
  out.q.resize(count * size), out.d.resize(count), out.m.resize(has_min ? count : 0), out.s.clear(), out.t.clear();
  std::array<float, kLargestGroup> padded{};
  for (size_t i = 0; i < count; ++i) {
    const size_t begin = i % groups * size, present = std::min(size, k - begin);
    Group group = rows.subspan(i / groups * k + begin, present);
    if (present < size) {   // a copy of the last element changes neither extremes nor sign
      std::fill(std::ranges::copy(group, padded.begin()).out, padded.begin() + static_cast<ptrdiff_t>(size), group.back());
      group = std::span(padded).first(size);
    }
    uint8_t* q = out.q.data() + i * size;
    if (has_min) {
      Line line;
      if (!QuantizeInt4(group, line, q)) return false;
      out.d[i] = line.d, out.m[i] = line.m;
    } else if (!QuantizeInt8(group, format.header == kernels::QuantHeader::kPairF16, out.d[i], q)) {
      return false;
    }
  }
  return true;
}

}  // namespace intaglio::compiler
