#include "kernels/isa/sample_logprobs.h"

#include <algorithm>
#include <functional>

#include "kernels/params.h"

namespace intaglio::kernels::INTAGLIO_ISA {
namespace {

using sample_params::kMaxLogprobs;

// The `n` greatest raw logits, greatest first, the lower id first of equals. Returns how many there are (NaN is never among them).
int TopLogits(const SampleRow& row, int n, Best* top) {
  float maxima[kSegments * kLanes];
  for (int s = 0; s < kSegments; ++s) std::copy_n(row.results[s].raw_maximum, kLanes, maxima + s * kLanes);
  std::nth_element(maxima, maxima + n - 1, std::end(maxima), std::greater<>());
  float floor = maxima[n - 1];   // no greater than the n-th greatest logit
  int count = 0;
  for (int64_t i = 0; i < row.vocab; i += kLanes) {
    const F32 x = LoadValues(row.raw, i, row.vocab);
    if (!AnyAtLeast(x, Set(floor))) continue;
    const int lanes = LanesLeft(i, row.vocab);
    for (int lane = 0; lane < lanes; ++lane) {
      const float value = row.raw[i + lane];
      if (!(value >= floor) || (count == n && !(value > top[n - 1].value))) continue;
      int place = count < n ? count++ : n - 1;
      for (; place > 0 && top[place - 1].value < value; --place) top[place] = top[place - 1];
      top[place] = {value, static_cast<int32_t>(i + lane)};
      if (count == n) floor = top[n - 1].value;
    }
  }
  return count;
}

}  // namespace

void WriteLogprobs(const SampleRow& row, int32_t chosen) noexcept {
  const float maximum = MaximumOf(row, &SegmentResult::raw_maximum);
  const float log_sum = maximum + First(Log(Set(SumOf(row, &SegmentResult::raw_sum))));
  row.logprobs[0] = row.raw[chosen] - log_sum;
  Best top[kMaxLogprobs];
  const int wanted = std::min(row.request->num_logprobs, kMaxLogprobs);
  const int found = TopLogits(row, wanted, top);
  for (int i = 0; i < wanted; ++i) {
    const int32_t id = i < found ? top[i].id : -1;   // fewer tokens than wanted: no id
    std::memcpy(row.logprobs + 1 + i, &id, sizeof id);
    row.logprobs[1 + kMaxLogprobs + i] = i < found ? top[i].value - log_sum : -std::numeric_limits<float>::infinity();
  }
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
