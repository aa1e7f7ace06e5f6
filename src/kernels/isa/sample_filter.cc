#include "kernels/isa/sample_filter.h"

#include <algorithm>
#include <functional>

#include "kernels/isa/philox.h"

namespace intaglio::kernels::INTAGLIO_ISA {
namespace {

constexpr float kLowest = std::numeric_limits<float>::lowest();

// Bits that compare as the floats do.
uint32_t OrderedBits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits ^ ((bits >> 31) != 0 ? 0xffffffffu : 0x80000000u);
}
float FromOrderedBits(uint32_t ordered) {
  const uint32_t bits = ordered ^ ((ordered >> 31) != 0 ? 0x80000000u : 0xffffffffu);
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// The values in question: at least `floor`, ordered bits that begin with `prefix`; sorted into bins by their next bits.
struct Digit {
  float floor;
  uint64_t prefix;
  int prefix_shift, shift;
  [[nodiscard]] int num_bins() const { return 1 << (prefix_shift - shift); }
};

// Sums the weights of each bin.
template <typename Weight>
void FillBins(const SampleRow& row, const Digit& digit, Weight weigh, double* bins) {
  const uint64_t mask = static_cast<uint64_t>(digit.num_bins()) - 1;
  std::fill_n(bins, digit.num_bins(), 0.0);
  for (int64_t i = 0; i < row.vocab; i += kLanes) {
    const F32 x = Load(row.processed + i);
    if (!AnyAtLeast(x, Set(digit.floor))) continue;
    float value[kLanes], weight[kLanes];
    Store(value, x);
    Store(weight, weigh(x));
    for (int lane = 0; lane < kLanes; ++lane) {
      const uint64_t bits = OrderedBits(value[lane]);
      if (!(value[lane] >= digit.floor) || bits >> digit.prefix_shift != digit.prefix) continue;
      bins[bits >> digit.shift & mask] += static_cast<double>(weight[lane]);
    }
  }
}

// The greatest value v for which the tokens of at least v weigh `share` of the whole (or more), looking only at those of at least
// `floor`; the least of them if all together fall short. `whole` 0: the sum of those. Found by three passes over ever finer bins.
template <typename Weight>
float Threshold(const SampleRow& row, float floor, Weight weigh, double share, double whole, double* bins) {
  Digit digit{.floor = floor, .prefix = 0, .prefix_shift = 32, .shift = 21};
  double above = 0.0;   // weight of the tokens beyond the current bin
  for (const int shift : {21, 10, 0}) {
    digit.shift = shift;
    FillBins(row, digit, weigh, bins);
    if (whole == 0.0) {
      for (int bin = digit.num_bins() - 1; bin >= 0; --bin) whole += bins[bin];
    }
    int chosen = -1;
    double above_chosen = above;
    for (int bin = digit.num_bins() - 1; bin >= 0; --bin) {
      if (bins[bin] == 0.0) continue;
      chosen = bin;
      above_chosen = above;
      above += bins[bin];
      if (above >= share * whole) break;
    }
    if (chosen < 0) return floor;
    above = above_chosen;
    digit.prefix = digit.prefix * static_cast<uint64_t>(digit.num_bins()) + static_cast<uint64_t>(chosen);
    digit.prefix_shift = shift;
  }
  return FromOrderedBits(static_cast<uint32_t>(digit.prefix));
}

// A value that the k-th greatest is no less than: the k-th greatest of the segments' lane maxima, which are different tokens.
float FloorOfTopK(const SampleRow& row, int k, float* maxima) {
  constexpr int kMaxima = kSegments * kLanes;
  if (k > kMaxima) return kLowest;
  for (int s = 0; s < kSegments; ++s) std::copy_n(row.results[s].maximum, kLanes, maxima + s * kLanes);
  std::nth_element(maxima, maxima + k - 1, maxima + kMaxima, std::greater<>());
  return std::max(maxima[k - 1], kLowest);
}

// A value that top-p's threshold is no less than: all tokens whose weight is under (1 - top_p) sum / vocab weigh less than 1 - top_p.
float FloorOfTopP(const SampleRow& row, float maximum, float sum) {
  const float least = (1.0f - row.request->top_p) * sum / static_cast<float>(row.vocab);
  if (!(least > 1e-30f)) return kLowest;
  return maximum + First(Log(Set(least))) - 0.001f;   // the margin covers the rounding of Exp and Log
}

}  // namespace

Filter OpenFilter(const SampleRow& row) noexcept {
  return {.maximum = MaximumOf(row, &SegmentResult::maximum), .least_value = kLowest, .least_weight = std::min(row.request->min_p, 1.0f)};
}

Filter FindFilter(const SampleRow& row, std::byte* scratch) noexcept {
  auto* bins = reinterpret_cast<double*>(scratch);
  Filter filter = OpenFilter(row);
  double whole = 0.0;
  if (row.has_top_k()) {
    const float floor = FloorOfTopK(row, row.request->top_k, reinterpret_cast<float*>(scratch));
    filter.least_value = Threshold(row, floor, [](F32) { return Set(1.0f); }, row.request->top_k, 1.0, bins);
  }
  if (row.has_top_p()) {
    float floor = filter.least_value;
    if (!row.has_top_k()) {
      const float sum = SumOf(row, &SegmentResult::sum);
      whole = static_cast<double>(sum);
      floor = std::max(floor, FloorOfTopP(row, filter.maximum, sum));
    }
    const F32 maximum = Set(filter.maximum);
    const auto weigh = [maximum](F32 x) { return Exp(Sub(x, maximum)); };
    filter.least_value = Threshold(row, floor, weigh, static_cast<double>(row.request->top_p), whole, bins);
  }
  return filter;
}

Best Race(const SampleRow& row, const Filter& filter, int64_t begin, int64_t end) noexcept {
  constexpr int64_t kGroup = 4 * kLanes;   // tokens of 16 counters: word w of lane l is for token 64 g + 16 w + l
  const F32 least_value = Set(filter.least_value);
  LaneBest best;
  for (int64_t group = begin / kGroup; group * kGroup < end; ++group) {
    const int64_t first = std::max(begin, group * kGroup), last = std::min(end, (group + 1) * kGroup);
    bool any = false;
    for (int64_t i = first; i < last; i += kLanes) any |= AnyAtLeast(Load(row.processed + i), least_value);
    if (!any) continue;
    const U32 counter = Add(LaneIndexU32(), SetU32(static_cast<uint32_t>(group * kLanes)));
    const PhiloxBlock random =
        Philox({{counter, SetU32(static_cast<uint32_t>(row.request->position)), SetU32(0), SetU32(0)}}, row.request->seed);
    INTAGLIO_UNROLL for (int word = 0; word < 4; ++word) {
      const int64_t i = group * kGroup + word * kLanes;
      if (i < first || i >= last) continue;
      const F32 weight = KeptWeights(Load(row.processed + i), filter);
      const F32 speed = Div(weight, Exponential(random.word[word]));
      best.See(SelectLess(Zero(), weight, speed, Set(-1.0f)), i);
    }
  }
  return Reduce(best);
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
