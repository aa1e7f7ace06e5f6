#include "runtime/ranks/collective_calls.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/checks.h"
#include "kernels/expert_exchange.h"
#include "kernels/expert_rows.h"
#include "kernels/params.h"
#include "kernels/sample_ranks.h"

namespace intaglio::runtime {
namespace {

using kernels::KernelCall;
using kernels::StepView;
using kernels::Tensor;

constexpr size_t kMostRanks = kernels::kSegments;

const char* CheckInPlace(const KernelCall& call) {
  if (!kernels::IsMatrix(call[0])) return "operand 0 is not an f32 matrix";
  return kernels::CheckDomain(call);
}

const char* CheckAllGather(const KernelCall& call, int rank, int num_ranks) {
  const Tensor &out = call[0], &x = call[1], &workspace = call[2];
  if (!kernels::IsMatrix(out) || (x.is_present() && (!kernels::IsMatrix(x) || x.rows != out.rows)))
    return "input and output are not f32 matrices of as many rows";
  if (!kernels::IsMatrix(workspace) || workspace.rows != 1 || workspace.cols / out.rows < out.cols) return "the workspace is too small";
  const int64_t* borders = &call.params.ints[kernels::gather_params::kBorders];
  if (borders[0] != 0 || borders[num_ranks] != out.cols || !std::is_sorted(borders, borders + num_ranks + 1))
    return "the ranks' columns do not make up the output";
  if ((x.is_present() ? x.cols : 0) != borders[rank + 1] - borders[rank]) return "the input has not the rank's columns";
  return kernels::CheckDomain(call);
}

void AllReduce(const KernelCall& call, const StepView& view, const RankLink& link) {
  const Tensor& x = call[0];
  const int64_t rows = std::min(kernels::LiveRows(call, view), x.rows);
  if (rows > 0) link.group->AllReduce(SummedFloats(x, 0, rows), WireOf(x, link));
}

// A rank without columns has no x. In the workspace a rank's rows lie together, rank after rank.
void AllGather(const KernelCall& call, const StepView& view, collectives::Collectives& group) {
  const Tensor &out = call[0], &x = call[1];
  const int64_t rows = std::min(kernels::LiveRows(call, view), out.rows);
  const int64_t* columns = &call.params.ints[kernels::gather_params::kBorders];
  const auto num_ranks = static_cast<size_t>(group.size());
  std::array<int64_t, kMostRanks + 1> borders{};
  for (size_t r = 0; r <= num_ranks; ++r) borders[r] = columns[r] * rows * static_cast<int64_t>(sizeof(float));
  const auto part = [&](int rank) { return call[2].f32() + columns[rank] * rows; };
  const auto width = [&](int rank) { return columns[rank + 1] - columns[rank]; };
  for (int64_t row = 0; row < rows; ++row) std::copy_n(x.f32(row), width(group.rank()), part(group.rank()) + row * width(group.rank()));
  group.AllGather({call[2].data, static_cast<size_t>(borders[num_ranks])}, std::span(borders).first(num_ranks + 1));
  for (int rank = 0; rank < group.size(); ++rank) {
    for (int64_t row = 0; row < rows; ++row) std::copy_n(part(rank) + row * width(rank), width(rank), out.f32(row) + columns[rank]);
  }
}

void ExpertExchange(const KernelCall& call, const StepView& view, collectives::Collectives& group) {
  const kernels::RankOf own{.rank = group.rank(), .num_ranks = group.size()};
  const auto num_borders = static_cast<size_t>(group.size()) + 1;
  const kernels::ExpertRowExchange exchange = kernels::PackExpertRows(call, view, own);
  group.AllToAll(exchange.to, std::span(exchange.to_borders).first(num_borders), exchange.from, std::span(exchange.from_borders).first(num_borders));
  kernels::UnpackExpertRows(call, view, own, exchange);
}

// As in AllReduce, what pads rows travels with them.
void RowGather(const KernelCall& call, const StepView& view, collectives::Collectives& group) {
  const Tensor& x = call[0];
  const int64_t rows = std::min(kernels::LiveRows(call, view), x.rows);
  if (rows == 0) return;
  const int64_t floats = (rows - 1) * x.stride + x.cols;
  std::array<int64_t, kMostRanks + 1> borders{};
  const auto num_ranks = static_cast<size_t>(group.size());
  for (size_t r = 0; r < num_ranks; ++r) {
    const int64_t end = kernels::ShareOfRows(rows, static_cast<int64_t>(r), group.size()).end;
    borders[r + 1] = std::min(end * x.stride, floats) * static_cast<int64_t>(sizeof(float));
  }
  group.AllGather({x.data, static_cast<size_t>(borders[num_ranks])}, std::span(borders).first(num_ranks + 1));
}

// Of bytes of W, all ranks' shares one after the other.
void Gather(const kernels::SampleGather& gather, collectives::Collectives& group) {
  if (gather.bytes.empty()) return;
  group.AllGather(gather.bytes, std::span(gather.borders).first(static_cast<size_t>(group.size()) + 1));
}

}  // namespace

std::optional<CollectiveKind> CollectiveOf(std::string_view kernel) noexcept {
  if (kernel == "all_reduce") return CollectiveKind::kAllReduce;
  if (kernel == "all_gather") return CollectiveKind::kAllGather;
  if (kernel == "expert_exchange") return CollectiveKind::kExpertExchange;
  if (kernel == "row_gather") return CollectiveKind::kRowGather;
  if (kernel == "sample_gather_results") return CollectiveKind::kGatherResults;
  if (kernel == "sample_gather_candidates") return CollectiveKind::kGatherCandidates;
  return std::nullopt;
}

const char* CheckCollective(CollectiveKind kind, const KernelCall& call, const collectives::Collectives& group) noexcept {
  switch (kind) {
    case CollectiveKind::kAllReduce:
    case CollectiveKind::kRowGather:
      return CheckInPlace(call);
    case CollectiveKind::kAllGather:
      return CheckAllGather(call, group.rank(), group.size());
    case CollectiveKind::kExpertExchange:
      return kernels::CheckExpertExchange(call, {.rank = group.rank(), .num_ranks = group.size()});
    case CollectiveKind::kGatherResults:
    case CollectiveKind::kGatherCandidates:
      return kernels::CheckSampleGather(call, group.rank(), group.size());
  }
  return "it is unknown";
}

std::span<float> SummedFloats(const Tensor& x, int64_t begin, int64_t end) noexcept {
  return {x.f32(begin), static_cast<size_t>((end - begin - 1) * x.stride + x.cols)};
}

collectives::Wire WireOf(const Tensor& x, const RankLink& link) noexcept { return x.cols > kernels::kLanes ? link.wire : collectives::Wire::kF32; }

void RunCollective(CollectiveKind kind, const KernelCall& call, const StepView& view, const RankLink& link) {
  collectives::Collectives& group = *link.group;
  switch (kind) {
    case CollectiveKind::kAllReduce:
      return AllReduce(call, view, link);
    case CollectiveKind::kAllGather:
      return AllGather(call, view, group);
    case CollectiveKind::kExpertExchange:
      return ExpertExchange(call, view, group);
    case CollectiveKind::kRowGather:
      return RowGather(call, view, group);
    case CollectiveKind::kGatherResults:
      return Gather(kernels::GatherOfResults(call, view, group.size()), group);
    case CollectiveKind::kGatherCandidates:
      Gather(kernels::GatherOfCandidateBytes(call, view, group.size()), group);
      return Gather(kernels::PackCandidates(call, view, group.size()), group);
  }
}

}  // namespace intaglio::runtime
