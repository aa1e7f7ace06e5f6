#include "compiler/quantize.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/assert.h"
#include "kernels/quant_format.h"

namespace intaglio::compiler {
namespace {

constexpr int kLanes = 16;   // partial sums: element i of a group is added to sum i % 16, and these by a tree
using Lanes = std::array<float, kLanes>;

constexpr float kRounder = 12582912.0f;   // 1.5 * 2^23: adding it rounds to the nearest integer, ties to even
constexpr float kLargestInt8 = 127, kLargestInt4 = 15;

float Tree(Lanes sums) {
  for (size_t width = kLanes / 2; width > 0; width /= 2) {
    for (size_t i = 0; i < width; ++i) sums[i] += sums[i + width];
  }
  return sums[0];
}

// Number of steps to `x`, rounded and kept within the two borders.
float Steps(float x, float steps_per_unit, float least, float most) {
  const float rounded = x * steps_per_unit + kRounder - kRounder;
  return rounded < least ? least : rounded > most ? most : rounded;
}

struct Extremes {
  float least, most;
};
// Of a whole number of 16 elements. A NaN anywhere shows as a NaN in both: 0 x is 0 for every finite x.
Extremes ExtremesOf(std::span<const float> group) {
  Lanes least, most, poison{};
  std::copy_n(group.begin(), kLanes, least.begin());
  most = least;
  for (size_t i = 0; i < group.size(); i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const float x = group[i + lane];
      least[lane] = x < least[lane] ? x : least[lane];
      most[lane] = x > most[lane] ? x : most[lane];
      poison[lane] += 0.0f * x;
    }
  }
  const float zero = Tree(poison);
  return {.least = *std::ranges::min_element(least) + zero, .most = *std::ranges::max_element(most) + zero};
}

float RoundToF16(float x) { return F16ToF32(F32ToF16(x)); }

// q = 128 + the steps of d to each element. False if there is no such d.
bool QuantizeInt8(std::span<const float> group, bool has_f16_scale, float& d, uint8_t* q) {
  const Extremes extremes = ExtremesOf(group);
  const float largest = std::max(std::fabs(extremes.least), std::fabs(extremes.most));
  d = largest / kLargestInt8;
  if (has_f16_scale) d = RoundToF16(d);
  if (!(std::fabs(extremes.least) <= std::numeric_limits<float>::max()) || !(d <= std::numeric_limits<float>::max())) return false;
  const float steps_per_unit = d == 0 || 1 / d > std::numeric_limits<float>::max() ? 0 : 1 / d;
  for (size_t i = 0; i < group.size(); ++i) q[i] = static_cast<uint8_t>(static_cast<int>(Steps(group[i], steps_per_unit, -kLargestInt8, kLargestInt8)) + 128);
  return true;
}

// w = d q + m
struct Line {
  float d = 0, m = 0;
};

// The line through quants and elements that leaves the least sum of weighted squares, elements weighing `weight`.
class Int4Search {
 public:
  Int4Search(std::span<const float> group, const Extremes& extremes) : group_(group), extremes_(extremes) {
    Lanes squares{};
    for (size_t i = 0; i < group.size(); i += kLanes) {
      for (size_t lane = 0; lane < kLanes; ++lane) squares[lane] += group[i + lane] * group[i + lane];
    }
    // Large elements matter more to a product, but not in proportion to their squares: their mean square keeps small ones in the sum.
    mean_square_ = Tree(squares) / static_cast<float>(group.size());
  }

  [[nodiscard]] Line Run() const {
    const float range = extremes_.most - extremes_.least;
    Line best = Rounded({.d = range / kLargestInt4, .m = extremes_.least});
    float least_error = Error(best);
    for (float share : kShares) {
      // A narrower range cuts a little off both ends, and what is in between has finer steps.
      const float cut = (1 - share) / 2 * range;
      const Line line = Rounded(Fit({.d = range * share / kLargestInt4, .m = extremes_.least + cut}));
      const float error = Error(line);
      if (error < least_error) best = line, least_error = error;
    }
    return best;
  }

  // Quants by a line that has been rounded.
  void Quants(const Line& line, uint8_t* q) const {
    const float steps_per_unit = StepsPerUnit(line);
    for (size_t i = 0; i < group_.size(); ++i) q[i] = static_cast<uint8_t>(static_cast<int>(Steps(group_[i] - line.m, steps_per_unit, 0, kLargestInt4)));
  }

 private:
  static constexpr std::array<float, 4> kShares{1.0f, 0.94f, 0.88f, 0.8f};

  static Line Rounded(const Line& line) { return {.d = RoundToF16(line.d), .m = RoundToF16(line.m)}; }
  static float StepsPerUnit(const Line& line) { return line.d > 0 && 1 / line.d <= std::numeric_limits<float>::max() ? 1 / line.d : 0; }
  [[nodiscard]] float Importance(float x) const { return mean_square_ + x * x; }

  [[nodiscard]] float Error(const Line& line) const {
    const float steps_per_unit = StepsPerUnit(line);
    Lanes errors{};
    for (size_t i = 0; i < group_.size(); i += kLanes) {
      for (size_t lane = 0; lane < kLanes; ++lane) {
        const float x = group_[i + lane], q = Steps(x - line.m, steps_per_unit, 0, kLargestInt4), miss = line.d * q + line.m - x;
        errors[lane] += Importance(x) * (miss * miss);
      }
    }
    return Tree(errors);
  }

  // The best line for the quants that `line` gives; itself where they are all the same.
  [[nodiscard]] Line Fit(const Line& line) const {
    const float steps_per_unit = StepsPerUnit(line);
    Lanes w{}, wq{}, wqq{}, wx{}, wqx{};
    for (size_t i = 0; i < group_.size(); i += kLanes) {
      for (size_t lane = 0; lane < kLanes; ++lane) {
        const float x = group_[i + lane], q = Steps(x - line.m, steps_per_unit, 0, kLargestInt4), weight = Importance(x), weighted_q = weight * q;
        w[lane] += weight, wq[lane] += weighted_q, wqq[lane] += weighted_q * q, wx[lane] += weight * x, wqx[lane] += weighted_q * x;
      }
    }
    const float sum_w = Tree(w), sum_wq = Tree(wq), sum_wqq = Tree(wqq), sum_wx = Tree(wx), sum_wqx = Tree(wqx);
    const float determinant = sum_w * sum_wqq - sum_wq * sum_wq;
    if (!(determinant > 0)) return line;
    const Line fitted{.d = (sum_w * sum_wqx - sum_wq * sum_wx) / determinant, .m = (sum_wqq * sum_wx - sum_wq * sum_wqx) / determinant};
    return fitted.d > 0 ? fitted : line;
  }

  const std::span<const float> group_;
  const Extremes extremes_;
  float mean_square_ = 0;
};

bool QuantizeInt4(std::span<const float> group, Line& line, uint8_t* q) {
  constexpr float kLargestF16 = 65504;
  const Extremes extremes = ExtremesOf(group);
  if (!(std::fabs(extremes.least) <= kLargestF16) || !(extremes.most - extremes.least <= kLargestF16)) return false;
  const Int4Search search(group, extremes);
  line = search.Run();
  search.Quants(line, q);
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
  std::array<float, 128> padded{};
  for (size_t i = 0; i < count; ++i) {
    const size_t begin = i % groups * size, present = std::min(size, k - begin);
    std::span<const float> group = rows.subspan(i / groups * k + begin, present);
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
