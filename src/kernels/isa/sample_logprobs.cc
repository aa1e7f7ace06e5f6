#include "kernels/isa/sample_logprobs.h"

#include <algorithm>

namespace intaglio::kernels::INTAGLIO_ISA {

using sample_params::kMaxLogprobs;

int WantedLogprobs(const SampleRow& row) noexcept { return std::min(row.request->num_logprobs, kMaxLogprobs); }

int PlaceTop(const Best& next, int wanted, int count, Best* top) noexcept {
  if (count == wanted && !(next.value > top[wanted - 1].value)) return count;
  int place = count < wanted ? count++ : wanted - 1;
  for (; place > 0 && top[place - 1].value < next.value; --place) top[place] = top[place - 1];
  top[place] = next;
  return count;
}

int TopLogits(const SampleRow& row, int64_t begin, int64_t end, Best* top) noexcept {
  const int wanted = WantedLogprobs(row);
  float floor = NthMaximum(row, &SegmentResult::raw_maximum, wanted);
  int count = 0;
  for (int64_t i = begin; i < end; i += kLanes) {
    if (!AnyAtLeast(LoadRaw(row, i), Set(floor))) continue;
    const int lanes = LanesLeft(i, end);
    for (int lane = 0; lane < lanes; ++lane) {
      const float value = row.raw[i - row.first + lane];
      if (value >= floor) count = PlaceTop({value, static_cast<int32_t>(i + lane)}, wanted, count, top);
    }
    if (count == wanted) floor = std::max(floor, top[wanted - 1].value);
  }
  return count;
}

void WriteLogprobs(const SampleRow& row, float chosen_raw, std::span<const Best> top, float* logprobs) noexcept {
  const float maximum = MaximumOf(row, &SegmentResult::raw_maximum);
  const float log_sum = maximum + First(Log(Set(SumOf(row, &SegmentResult::raw_sum))));
  logprobs[0] = chosen_raw - log_sum;
  for (int i = 0; i < WantedLogprobs(row); ++i) {
    const bool is_there = i < static_cast<int>(top.size());   // fewer tokens than wanted: no id
    const int32_t id = is_there ? top[static_cast<size_t>(i)].id : -1;
    std::memcpy(logprobs + 1 + i, &id, sizeof id);
    logprobs[1 + kMaxLogprobs + i] = is_there ? top[static_cast<size_t>(i)].value - log_sum : -std::numeric_limits<float>::infinity();
  }
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
