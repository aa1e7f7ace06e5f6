#include "kernels/isa/expose.h"

#include "kernels/isa/philox.h"
#include "kernels/isa/sample_filter.h"

namespace intaglio::kernels::INTAGLIO_ISA {
namespace {

template <typename Function>
void ForLanes(std::span<const float> x, float* y, Function function) {
  const auto size = static_cast<int64_t>(x.size());
  for (int64_t i = 0; i < size; i += kLanes) {
    const int n = LanesLeft(i, size);
    StoreFirst(y + i, function(LoadFirst(x.data() + i, n)), n);
  }
}

}  // namespace

void ExpOf(std::span<const float> x, float* y) noexcept {
  ForLanes(x, y, [](F32 v) { return Exp(v); });
}

void LogOf(std::span<const float> x, float* y) noexcept {
  ForLanes(x, y, [](F32 v) { return Log(v); });
}

void TanhOf(std::span<const float> x, float* y) noexcept {
  ForLanes(x, y, [](F32 v) { return Tanh(v); });
}

void SoftplusOf(std::span<const float> x, float* y) noexcept {
  ForLanes(x, y, [](F32 v) { return Softplus(v); });
}

void ExponentialOf(std::span<const uint32_t> words, float* y) noexcept {
  for (size_t i = 0; i < words.size(); ++i) y[i] = First(Exponential(SetU32(words[i])));
}

void PhiloxOf(const uint32_t (&counter)[4], uint64_t key, uint32_t (&words)[4]) noexcept {
  const PhiloxBlock block = Philox({{SetU32(counter[0]), SetU32(counter[1]), SetU32(counter[2]), SetU32(counter[3])}}, key);
  for (int i = 0; i < 4; ++i) {
    uint32_t lanes[kLanes];
    Store(lanes, block.word[i]);
    words[i] = lanes[kLanes - 1];
  }
}

void ProbabilitiesOf(const KernelCall& call, const StepView& step, int64_t output, std::byte* scratch, float* p) noexcept {
  const SampleRow row = RowOf(call, step, output);
  for (int stage = 0; stage < 2; ++stage) {
    for (int segment = 0; segment < kSegments; ++segment) SampleSegment(row, stage, segment, scratch);
  }
  const Vectors all{.data = reinterpret_cast<const std::byte*>(row.processed), .count = ProcessedFloats(row.vocab) / kLanes};
  const Filter filter = FindFilter(row, {&all, 1}, scratch);
  for (int s = 0; s < kSegments; ++s) {
    F32 sum = Zero();
    for (int64_t i = SegmentBorder(row.vocab, s); i < SegmentBorder(row.vocab, s + 1); i += kLanes) {
      sum = Add(sum, KeptWeights(Load(row.processed + i), filter));
    }
    row.result(s).sum = SumLanes(sum);
  }
  const F32 sum = Set(SumOf(row, &SegmentResult::sum));
  for (int64_t i = 0; i < row.vocab; i += kLanes) {
    StoreFirst(p + i, Div(KeptWeights(Load(row.processed + i), filter), sum), LanesLeft(i, row.vocab));
  }
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
