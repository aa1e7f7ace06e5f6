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

// The vectors of 16 values that still hold one in question. Copied to scratch once they fit there, then ever fewer.
struct Candidates {
  const float* values;
  int64_t count;    // a multiple of 16
  float* scratch;   // kCapacity floats
  static constexpr int64_t kCapacity = kScratchBytes / sizeof(float);

  // Drops the vectors without a value in [low, high).
  void Narrow(float low, float high) {
    int64_t kept = 0;
    for (int64_t i = 0; i < count; i += kLanes) {
      const F32 x = Load(values + i);
      if (!AnyAtLeast(Below(x, high), Set(low))) continue;
      if (kept == kCapacity) return;   // does not fit: stay with the longer list, of which nothing is overwritten
      Store(scratch + kept, x);
      kept += kLanes;
    }
    values = scratch;
    count = kept;
  }
  // The weight of the values in [low, high).
  template <typename Weight>
  [[nodiscard]] double Sum(float low, float high, Weight weigh) const {
    F32 sum = Zero();
    for (int64_t i = 0; i < count; i += kLanes) {
      const F32 x = Below(Load(values + i), high);
      if (AnyAtLeast(x, Set(low))) sum = Add(sum, SelectLess(x, Set(low), Zero(), weigh(x)));
    }
    return static_cast<double>(SumLanes(sum));
  }

 private:
  static F32 Below(F32 x, float high) { return SelectLess(x, Set(high), x, Set(-std::numeric_limits<float>::infinity())); }
};

// Where a threshold is looked for: among the values from `floor` to `maximum`; and what it must leave, `share` of the whole weight.
struct Search {
  float floor, maximum;
  double share;
  double whole = 0.0;   // 0: the weight of those values
};

// The greatest value v for which the tokens of at least v weigh what is asked (or more); the floor if all together fall short.
// Bisects the floats, ordered by their bits.
template <typename Weight>
float Threshold(const SampleRow& row, const Search& search, Weight weigh, std::byte* scratch) {
  Candidates candidates{row.processed, ProcessedFloats(row.vocab), reinterpret_cast<float*>(scratch)};
  uint32_t low = OrderedBits(search.floor), high = OrderedBits(search.maximum) + 1;   // the answer is in [low, high)
  candidates.Narrow(search.floor, FromOrderedBits(high));
  const double whole = search.whole > 0.0 ? search.whole : candidates.Sum(search.floor, FromOrderedBits(high), weigh);
  double above = 0.0;   // weight of the values from `high` up
  while (high - low > 1) {
    const uint32_t middle = low + (high - low) / 2;
    const double inside = candidates.Sum(FromOrderedBits(middle), FromOrderedBits(high), weigh);
    if (above + inside >= search.share * whole) {
      low = middle;
    } else {
      high = middle;
      above += inside;
    }
    candidates.Narrow(FromOrderedBits(low), FromOrderedBits(high));
  }
  return FromOrderedBits(low);
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
  const SamplingRow& request = *row.request;
  Filter filter = OpenFilter(row);
  if (row.has_top_k()) {
    const float floor = FloorOfTopK(row, request.top_k, reinterpret_cast<float*>(scratch));
    const Search search{.floor = floor, .maximum = filter.maximum, .share = static_cast<double>(request.top_k), .whole = 1.0};
    filter.least_value = Threshold(row, search, [](F32) { return Set(1.0f); }, scratch);
  }
  if (row.has_top_p()) {
    Search search{.floor = filter.least_value, .maximum = filter.maximum, .share = static_cast<double>(request.top_p)};
    if (!row.has_top_k()) {
      const float sum = SumOf(row, &SegmentResult::sum);
      search.floor = FloorOfTopP(row, filter.maximum, sum);
      search.whole = static_cast<double>(sum);
    }
    const F32 maximum = Set(filter.maximum);
    filter.least_value = Threshold(row, search, [maximum](F32 x) { return Exp(Sub(x, maximum)); }, scratch);
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
    const PhiloxBlock random = Philox({{counter, SetU32(static_cast<uint32_t>(row.request->position)), SetU32(0), SetU32(0)}}, row.request->seed);
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
