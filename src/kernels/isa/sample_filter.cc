#include "kernels/isa/sample_filter.h"

#include <algorithm>
#include <functional>

#include "kernels/isa/philox.h"

namespace intaglio::kernels::INTAGLIO_ISA {
namespace {

constexpr float kLowest = std::numeric_limits<float>::lowest(), kInfinity = std::numeric_limits<float>::infinity();

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
  std::span<const Vectors> vectors;
  float* scratch;   // kCapacity floats
  Vectors narrowed{};
  static constexpr int64_t kCapacity = kScratchBytes / sizeof(float);

  // Drops the vectors without a value in [low, high).
  void Narrow(float low, float high) {
    int64_t kept = 0;
    for (const Vectors& piece : vectors) {
      const std::byte* at = piece.data;
      for (int64_t i = 0; i < piece.count; ++i, at += piece.stride) {
        const F32 x = LoadAt(at);
        if (!AnyAtLeast(Below(x, high), Set(low))) continue;
        if (kept == kCapacity) return;   // does not fit: stay with the longer list, of which nothing is overwritten
        Store(scratch + kept, x);
        kept += kLanes;
      }
    }
    narrowed = {.data = reinterpret_cast<const std::byte*>(scratch), .count = kept / kLanes};
    vectors = {&narrowed, 1};
  }
  // The weight of the values in [low, high).
  template <typename Weight>
  [[nodiscard]] double Sum(float low, float high, Weight weigh) const {
    F32 sum = Zero();
    for (const Vectors& piece : vectors) {
      const std::byte* at = piece.data;
      for (int64_t i = 0; i < piece.count; ++i, at += piece.stride) {
        const F32 x = Below(LoadAt(at), high);
        if (AnyAtLeast(x, Set(low))) sum = Add(sum, SelectLess(x, Set(low), Zero(), weigh(x)));
      }
    }
    return static_cast<double>(SumLanes(sum));
  }

 private:
  static F32 LoadAt(const std::byte* at) { return Load(reinterpret_cast<const float*>(at)); }
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
float Threshold(std::span<const Vectors> vectors, const Search& search, Weight weigh, std::byte* scratch) {
  Candidates candidates{.vectors = vectors, .scratch = reinterpret_cast<float*>(scratch)};
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

// A value that the k-th greatest is no less than.
float FloorOfTopK(const SampleRow& row, int k) {
  return k > kSegments * kLanes ? kLowest : std::max(NthMaximum(row, &SegmentResult::maximum, k), kLowest);
}

// A value that top-p's threshold is no less than: all tokens whose weight is under (1 - top_p) sum / vocab weigh less than 1 - top_p.
float FloorOfTopP(const SampleRow& row, float maximum, float sum) {
  const float least = (1.0f - row.request->top_p) * sum / static_cast<float>(row.vocab);
  if (!(least > 1e-30f)) return kLowest;
  return maximum + First(Log(Set(least))) - 0.001f;   // the margin covers the rounding of Exp and Log
}

constexpr int64_t kGroup = 4 * kLanes;   // tokens of 16 counters: word w of lane l is for token 64 g + 16 w + l

PhiloxBlock RandomOf(const SampleRow& row, int64_t group) {
  const U32 counter = Add(LaneIndexU32(), SetU32(static_cast<uint32_t>(group * kLanes)));
  return Philox({{counter, SetU32(static_cast<uint32_t>(row.request->position)), SetU32(0), SetU32(0)}}, row.request->seed);
}

// How fast 16 tokens are; -1 where the filter does not keep them.
INTAGLIO_INLINE F32 Speeds(F32 values, U32 word, const Filter& filter) {
  const F32 weight = KeptWeights(values, filter);
  return SelectLess(Zero(), weight, Div(weight, Exponential(word)), Set(-1.0f));
}

}  // namespace

float NthMaximum(const SampleRow& row, float (SegmentResult::*member)[kLanes], int n) {
  float maxima[kSegments * kLanes];
  for (int s = 0; s < kSegments; ++s) {
    // Never NaN, unless W is not what this row's stages left: then the selection must still end within its array.
    std::transform(row.result(s).*member, row.result(s).*member + kLanes, maxima + s * kLanes, [](float x) { return x >= kLowest ? x : -kInfinity; });
  }
  std::nth_element(maxima, maxima + n - 1, std::end(maxima), std::greater<>());
  return maxima[n - 1];
}

float CandidateFloor(const SampleRow& row) noexcept {
  const float maximum = MaximumOf(row, &SegmentResult::maximum);
  const float floor = row.has_top_k() ? FloorOfTopK(row, row.request->top_k) : FloorOfTopP(row, maximum, SumOf(row, &SegmentResult::sum));
  return floor <= maximum ? floor : kLowest;
}

Filter OpenFilter(const SampleRow& row) noexcept {
  return {.maximum = MaximumOf(row, &SegmentResult::maximum), .least_value = kLowest, .least_weight = std::min(row.request->min_p, 1.0f)};
}

Filter FindFilter(const SampleRow& row, std::span<const Vectors> vectors, std::byte* scratch) noexcept {
  const SamplingRow& request = *row.request;
  Filter filter = OpenFilter(row);
  if (row.has_top_k()) {
    const float floor = FloorOfTopK(row, request.top_k);
    const Search search{.floor = floor, .maximum = filter.maximum, .share = static_cast<double>(request.top_k), .whole = 1.0};
    filter.least_value = Threshold(vectors, search, [](F32) { return Set(1.0f); }, scratch);
  }
  if (row.has_top_p()) {
    Search search{.floor = filter.least_value, .maximum = filter.maximum, .share = static_cast<double>(request.top_p)};
    if (!row.has_top_k()) {
      const float sum = SumOf(row, &SegmentResult::sum);
      search.floor = FloorOfTopP(row, filter.maximum, sum);
      search.whole = static_cast<double>(sum);
    }
    const F32 maximum = Set(filter.maximum);
    filter.least_value = Threshold(vectors, search, [maximum](F32 x) { return Exp(Sub(x, maximum)); }, scratch);
  }
  return filter;
}

Best Race(const SampleRow& row, const Filter& filter, int64_t begin, int64_t end) noexcept {
  const F32 least_value = Set(filter.least_value);
  LaneBest best;
  for (int64_t group = begin / kGroup; group * kGroup < end; ++group) {
    const int64_t first = std::max(begin, group * kGroup), last = std::min(end, (group + 1) * kGroup);
    bool any = false;
    for (int64_t i = first; i < last; i += kLanes) any |= AnyAtLeast(LoadProcessed(row, i), least_value);
    if (!any) continue;
    const PhiloxBlock random = RandomOf(row, group);
    INTAGLIO_UNROLL for (int word = 0; word < 4; ++word) {
      const int64_t i = group * kGroup + word * kLanes;
      if (i < first || i >= last) continue;
      best.See(Speeds(LoadProcessed(row, i), random.word[word], filter), i);
    }
  }
  return Reduce(best);
}

void SparseRace::See(int64_t unit, const float* values) noexcept {
  const F32 x = Load(values);
  if (!AnyAtLeast(x, Set(filter.least_value))) return;
  const PhiloxBlock random = RandomOf(row, unit * kLanes / kGroup);
  best.See(Speeds(x, random.word[unit % (kGroup / kLanes)], filter), unit * kLanes);
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
