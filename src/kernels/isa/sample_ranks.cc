// Sampling over a vocabulary that ranks share (sample_ranks.h): the stages of sample.cc on a rank's own segments, and the decision on
// what all ranks have gathered. A task is a row's segment; of sample_decide a row.
#include <algorithm>
#include <cstring>

#include "kernels/isa/sample_filter.h"
#include "kernels/isa/sample_logprobs.h"
#include "kernels/params.h"
#include "kernels/sample_share.h"

namespace intaglio::kernels::INTAGLIO_ISA {
namespace {

static_assert(sizeof(Best) == kTopBytes);

SampleRow RowOfShare(const SampleShare& share, const StepView& step, int64_t output) {
  return {.results = share.results(output),
          .result_stride = share.outputs,
          .wants_logprobs = share.has_logprobs && step.sampling[output].num_logprobs > 0,
          .vocab = share.vocab,
          .request = step.sampling + output};
}

// With the rank's own columns.
SampleRow RowOfRank(const KernelCall& call, const SampleShare& share, const StepView& step, int64_t output) {
  SampleRow row = RowOfShare(share, step, output);
  row.raw = call[0].f32(output);
  row.processed = share.processed(output);
  row.first = share.first_column();
  row.cols = share.cols();
  return row;
}

// From one vector of a box to the next.
int64_t RecordBytes(const SampleRow& row) { return kUnitBytes + (row.wants_logprobs ? 2 : 1) * kVectorBytes; }

// Writes the vectors of columns [begin, end) that may hold a candidate. Returns how many there are.
int32_t PickVectors(const SampleRow& row, int64_t begin, int64_t end, std::byte* to) {
  const F32 floor = Set(CandidateFloor(row));
  int32_t count = 0;
  for (int64_t i = begin; i < end; i += kLanes) {
    const F32 x = LoadProcessed(row, i);
    if (!AnyAtLeast(x, floor)) continue;
    const auto unit = static_cast<int32_t>(i / kLanes);
    std::memcpy(to, &unit, sizeof unit);
    auto* values = reinterpret_cast<float*>(to + kUnitBytes);
    Store(values, x);
    if (row.wants_logprobs) Store(values + kLanes, LoadRaw(row, i));
    to += RecordBytes(row);
    ++count;
  }
  return count;
}

// What a box holds, never more than it is full, whatever its header says.
struct Box {
  const std::byte* tops = nullptr;
  int64_t num_tops = 0;
  Vectors vectors;   // of which each has its unit in front
};

Box OpenBox(const SampleRow& row, const std::byte* data, int64_t bytes) {
  BoxHeader header;
  bytes -= static_cast<int64_t>(sizeof header);
  if (bytes < 0) return {};
  std::memcpy(&header, data, sizeof header);
  Box box;
  box.tops = data + sizeof header;
  box.num_tops = std::clamp<int64_t>(header.num_tops, 0, std::min<int64_t>(sample_params::kMaxLogprobs, bytes / kTopBytes));
  bytes -= box.num_tops * kTopBytes;
  const int64_t count = std::clamp<int64_t>(header.num_vectors, 0, bytes / RecordBytes(row));
  box.vectors = {.data = box.tops + box.num_tops * kTopBytes + kUnitBytes, .count = count, .stride = RecordBytes(row)};
  return box;
}

// The row's boxes of all segments, after they were packed.
void OpenBoxes(const SampleShare& share, const SampleRow& row, int64_t output, Box (&boxes)[kSegments]) {
  const std::byte* at = share.boxes();
  for (int s = 0; s < kSegments; ++s) {
    for (int64_t r = 0; r < share.outputs; ++r) {
      const int64_t bytes = UsedBytes(share, s, r);
      if (r == output) boxes[s] = OpenBox(row, at, bytes);
      at += bytes;
    }
  }
}

// Calls body(unit, values) for every vector of the boxes, columns ascending.
template <typename Body>
void ForVectors(const SampleRow& row, const Vectors (&vectors)[kSegments], Body body) {
  for (const Vectors& piece : vectors) {
    const std::byte* at = piece.data;
    for (int64_t i = 0; i < piece.count; ++i, at += piece.stride) {
      int32_t unit = 0;
      std::memcpy(&unit, at - kUnitBytes, sizeof unit);
      body(std::clamp<int64_t>(unit, 0, (row.vocab - 1) / kLanes), reinterpret_cast<const float*>(at));
    }
  }
}

Choice ChooseAmong(const SampleRow& row, const Vectors (&vectors)[kSegments], std::byte* scratch) {
  const Filter filter = FindFilter(row, vectors, scratch);
  SparseRace race{.row = row, .filter = filter, .best = {}};
  ForVectors(row, vectors, [&](int64_t unit, const float* values) { race.See(unit, values); });
  // Nothing was kept: column 0, whether its vector is here or not.
  Choice choice{.id = Reduce(race.best).id, .raw = row.result(0).first_raw};
  if (!row.wants_logprobs) return choice;
  ForVectors(row, vectors, [&](int64_t unit, const float* values) {
    if (unit == choice.id / kLanes) choice.raw = values[kLanes + choice.id % kLanes];
  });
  return choice;
}

int MergeTops(const SampleRow& row, const Box (&boxes)[kSegments], Best* top) {
  int count = 0;
  for (const Box& box : boxes) {
    for (int64_t i = 0; i < box.num_tops; ++i) {
      Best next{};
      std::memcpy(&next, box.tops + i * kTopBytes, sizeof next);
      count = PlaceTop(next, WantedLogprobs(row), count, top);
    }
  }
  return count;
}

}  // namespace

void SampleLocal(const KernelCall& call, const StepView& step, int, int64_t task, std::byte* scratch) noexcept {
  const SampleShare share = ShareOfSample(call, call[1], step);
  const SampleTask at = FindSampleTask(share, task);
  SampleSegment(RowOfRank(call, share, step, at.row), 0, at.segment, scratch);
}

void SampleDraw(const KernelCall& call, const StepView& step, int, int64_t task, std::byte* scratch) noexcept {
  const SampleShare share = ShareOfSample(call, call[1], step);
  const SampleTask at = FindSampleTask(share, task);
  SampleSegment(RowOfRank(call, share, step, at.row), 1, at.segment, scratch);
}

void SamplePick(const KernelCall& call, const StepView& step, int, int64_t task, std::byte*) noexcept {
  const SampleShare share = ShareOfSample(call, call[1], step);
  const auto [output, segment] = FindSampleTask(share, task);
  const SampleRow row = RowOfRank(call, share, step, output);
  const int64_t begin = SegmentBorder(row.vocab, segment), end = SegmentBorder(row.vocab, segment + 1);
  std::byte* box = share.box(segment, output);
  BoxHeader header;
  Best top[sample_params::kMaxLogprobs];
  if (row.wants_logprobs) header.num_tops = TopLogits(row, begin, end, top);
  std::byte* vectors = box + sizeof header + header.num_tops * kTopBytes;
  std::memcpy(box + sizeof header, top, static_cast<size_t>(header.num_tops * kTopBytes));
  if (row.is_filtered()) header.num_vectors = PickVectors(row, begin, end, vectors);
  std::memcpy(box, &header, sizeof header);
  *share.box_bytes(segment, output) = vectors - box + header.num_vectors * RecordBytes(row);
}

void SampleDecide(const KernelCall& call, const StepView& step, int, int64_t output, std::byte* scratch) noexcept {
  const SampleShare share = ShareOfSample(call, call[1], step);
  const SampleRow row = RowOfShare(share, step, output);
  Box boxes[kSegments];
  if (row.wants_logprobs || row.is_filtered()) OpenBoxes(share, row, output, boxes);
  Vectors vectors[kSegments];
  for (int s = 0; s < kSegments; ++s) vectors[s] = boxes[s].vectors;
  const Choice chosen = row.is_filtered() ? ChooseAmong(row, vectors, scratch) : ChooseFromResults(row);
  *call[0].i32(output) = static_cast<int32_t>(std::clamp<int64_t>(chosen.id, 0, row.vocab - 1));   // results are other ranks' word
  if (!row.wants_logprobs) return;
  Best top[sample_params::kMaxLogprobs];
  const int found = MergeTops(row, boxes, top);
  WriteLogprobs(row, chosen.raw, {top, static_cast<size_t>(found)}, call[2].f32(output));
}

}  // namespace intaglio::kernels::INTAGLIO_ISA
