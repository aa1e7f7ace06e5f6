// Sampling on the device: penalties, temperature, top-k, top-p, min-p and the draw, in the order of Transformers' logits processors.
// Stage 0 processes the logits of a (row, segment) and finds its maxima, stage 1 sums and, where no threshold has to be found first,
// draws within it; stage 2 decides a row. Small vocabularies do all of it in stage 2. NaN logits are never chosen while any other is.
#include <algorithm>

#include "kernels/isa/sample_filter.h"
#include "kernels/isa/sample_logprobs.h"
#include "kernels/params.h"

namespace intaglio::kernels::INTAGLIO_ISA {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// What a processed logit may be: NaN becomes minus infinity, plus infinity the greatest number.
INTAGLIO_INLINE F32 Sane(F32 x) { return Min(Max(x, Set(kMinusInfinity)), Set(std::numeric_limits<float>::max())); }

float Penalise(const SamplingRow& request, float logit, int32_t count) {
  if (request.repetition_penalty != 1.0f) { logit = logit < 0.0f ? logit * request.repetition_penalty : logit / request.repetition_penalty; }
  logit -= request.frequency_penalty * static_cast<float>(count);
  return count > 0 ? logit - request.presence_penalty : logit;
}

// Replaces the processed logits of the tokens that the sequence has seen. `counts` needs no clearing: it is cleared where it is used.
void ApplyPenalties(const SampleRow& row, int64_t begin, int64_t end, int32_t* counts) {
  const SamplingRow& request = *row.request;
  constexpr int32_t kDone = -1;
  const auto for_seen = [&](int32_t first, auto body) {
    for (int32_t i = first; i < request.history_size; ++i) {
      const int64_t id = request.history[i];
      if (id >= begin && id < end) body(id);
    }
  };
  const float temperature = row.is_greedy() ? 1.0f : request.temperature;
  for_seen(0, [&](int64_t id) { counts[id - begin] = 0; });
  for_seen(std::max(request.prompt_size, 0), [&](int64_t id) { ++counts[id - begin]; });
  for_seen(0, [&](int64_t id) {
    if (counts[id - begin] == kDone) return;
    row.processed[id - row.first] = First(Sane(Set(Penalise(request, row.RawOf(id), counts[id - begin]) / temperature)));
    counts[id - begin] = kDone;
  });
}

void ProcessSegment(const SampleRow& row, int64_t begin, int64_t end, std::byte* scratch) {
  const F32 temperature = Set(row.is_greedy() ? 1.0f : row.request->temperature);
  for (int64_t i = begin; i < end; i += kLanes) Store(row.processed + (i - row.first), Sane(Div(LoadRaw(row, i), temperature)));
  if (row.is_penalised()) ApplyPenalties(row, begin, end, reinterpret_cast<int32_t*>(scratch));
}

void FindMaxima(const SampleRow& row, int64_t begin, int64_t end, SegmentResult* result) {
  LaneBest best;
  if (row.is_processed()) {
    for (int64_t i = begin; i < end; i += kLanes) best.See(LoadProcessed(row, i), i);
  } else {
    for (int64_t i = begin; i < end; i += kLanes) best.See(LoadRaw(row, i), i);
  }
  const Best winner = Reduce(best);
  Store(result->maximum, best.value);
  result->best_value = winner.value;
  result->best_id = winner.id;
  result->best_raw = row.RawOf(winner.id);
  if (!row.wants_logprobs) return;
  F32 raw_maximum = Set(kMinusInfinity);
  for (int64_t i = begin; i < end; i += kLanes) raw_maximum = Max(LoadRaw(row, i), raw_maximum);
  Store(result->raw_maximum, raw_maximum);
}

// Sum over a segment's columns of e^(value - maximum), where load(row, i) has 16 values. What is past the vocabulary adds nothing.
template <typename LoadAt>
float SumWeights(const SampleRow& row, int segment, float maximum, LoadAt load) {
  F32 sum = Zero();
  for (int64_t i = SegmentBorder(row.vocab, segment); i < SegmentBorder(row.vocab, segment + 1); i += kLanes) {
    const F32 x = load(row, i);
    sum = Add(sum, SelectLess(x, Set(std::numeric_limits<float>::lowest()), Zero(), Exp(Sub(x, Set(maximum)))));
  }
  return SumLanes(sum);
}

void SumAndDraw(const SampleRow& row, int segment) {
  SegmentResult* result = &row.result(segment);
  if (row.wants_logprobs) {
    const float maximum = MaximumOf(row, &SegmentResult::raw_maximum);
    result->raw_sum = SumWeights(row, segment, maximum, [](const SampleRow& r, int64_t i) { return LoadRaw(r, i); });
  }
  if (row.is_greedy() || row.has_top_k()) return;
  const Filter open = OpenFilter(row);
  if (row.has_top_p()) {
    result->sum = SumWeights(row, segment, open.maximum, [](const SampleRow& r, int64_t i) { return LoadProcessed(r, i); });
    return;
  }
  const Best winner = Race(row, open, SegmentBorder(row.vocab, segment), SegmentBorder(row.vocab, segment + 1));
  result->race_value = winner.value;
  result->race_id = winner.id;
  result->race_raw = row.RawOf(winner.id);
}

// The segment winners' best; the earlier segment of equals, which has the lower ids.
const SegmentResult& Winner(const SampleRow& row, float SegmentResult::* value) {
  const SegmentResult* best = &row.result(0);
  for (int s = 1; s < kSegments; ++s) {
    if (row.result(s).*value > best->*value) best = &row.result(s);
  }
  return *best;
}

Choice Choose(const SampleRow& row, std::byte* scratch) {
  if (!row.is_filtered()) return ChooseFromResults(row);
  const Vectors all{.data = reinterpret_cast<const std::byte*>(row.processed), .count = ProcessedFloats(row.vocab) / kLanes};
  const int32_t id = Race(row, FindFilter(row, {&all, 1}, scratch), 0, row.vocab).id;
  return {.id = id, .raw = row.RawOf(id)};
}

}  // namespace

Choice ChooseFromResults(const SampleRow& row) noexcept {
  if (row.is_greedy()) {
    const SegmentResult& best = Winner(row, &SegmentResult::best_value);
    return {.id = best.best_id, .raw = best.best_raw};
  }
  const SegmentResult& fastest = Winner(row, &SegmentResult::race_value);
  return {.id = fastest.race_id, .raw = fastest.race_raw};
}

SampleRow RowOf(const KernelCall& call, const StepView& step, int64_t output) noexcept {
  const Tensor &logits = call[1], &workspace = call[2], &logprobs = call[3];
  std::byte* own = workspace.data + output * SampleRowBytes(logits.cols);
  return {.raw = logits.f32(output),
          .processed = reinterpret_cast<float*>(own),
          .results = reinterpret_cast<SegmentResult*>(own + ProcessedFloats(logits.cols) * static_cast<int64_t>(sizeof(float))),
          .wants_logprobs = logprobs.is_present() && step.sampling[output].num_logprobs > 0,
          .vocab = logits.cols,
          .cols = logits.cols,
          .request = step.sampling + output};
}

void SampleSegment(const SampleRow& row, int stage, int segment, std::byte* scratch) noexcept {
  if (stage == 1) return SumAndDraw(row, segment);
  const int64_t begin = SegmentBorder(row.vocab, segment), end = SegmentBorder(row.vocab, segment + 1);
  SegmentResult* result = &row.result(segment);
  *result = {};
  if (segment == 0) result->first_raw = row.RawOf(0);
  if (row.is_processed()) ProcessSegment(row, begin, end, scratch);
  FindMaxima(row, begin, end, result);
}

void Sample(const KernelCall& call, const StepView& step, int stage, int64_t task, std::byte* scratch) noexcept {
  if (stage < 2) return SampleSegment(RowOf(call, step, task / kSegments), stage, static_cast<int>(task % kSegments), scratch);
  const SampleRow row = RowOf(call, step, task);
  if (row.vocab < kSplitVocab) {
    for (int early = 0; early < 2; ++early) {
      for (int segment = 0; segment < kSegments; ++segment) SampleSegment(row, early, segment, scratch);
    }
  }
  const Choice chosen = Choose(row, scratch);
  *call[0].i32(task) = chosen.id;
  if (!row.wants_logprobs) return;
  Best top[sample_params::kMaxLogprobs];
  const int found = TopLogits(row, 0, row.vocab, top);
  WriteLogprobs(row, chosen.raw, {top, static_cast<size_t>(found)}, call[3].f32(task));
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
