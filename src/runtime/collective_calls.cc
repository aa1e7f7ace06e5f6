#include "runtime/collective_calls.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/checks.h"
#include "kernels/params.h"

namespace intaglio::runtime {
namespace {

using kernels::KernelCall;
using kernels::StepView;
using kernels::Tensor;

constexpr size_t kMostRanks = kernels::kSegments;

const char* CheckAllReduce(const KernelCall& call) {
  if (!kernels::IsMatrix(call[0])) return "operand 0 is not an f32 matrix";
  return kernels::CheckDomain(call);
}

const char* CheckAllGather(const KernelCall& call, int num_ranks) {
  const Tensor &out = call[0], &x = call[1], &workspace = call[2];
  if (!kernels::IsMatrix(out) || !kernels::IsMatrix(x) || x.rows != out.rows) return "input and output are not f32 matrices of as many rows";
  if (!kernels::IsMatrix(workspace) || workspace.rows != 1 || workspace.cols / out.rows < out.cols) return "the workspace is too small";
  const int64_t* borders = &call.params.ints[kernels::gather_params::kBorders];
  if (borders[0] != 0 || borders[num_ranks] != out.cols || !std::is_sorted(borders, borders + num_ranks + 1))
    return "the ranks' columns do not make up the output";
  return kernels::CheckDomain(call);
}

// The floats of live rows lie together, what pads them included.
void AllReduce(const KernelCall& call, const StepView& view, collectives::Collectives& group) {
  const Tensor& x = call[0];
  const int64_t rows = std::min(kernels::LiveRows(call, view), x.rows);
  if (rows == 0) return;
  group.AllReduce({x.f32(), static_cast<size_t>((rows - 1) * x.stride + x.cols)});
}

// In the workspace a rank's rows lie together, rank after rank.
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

}  // namespace

std::optional<CollectiveKind> CollectiveOf(std::string_view kernel) noexcept {
  if (kernel == "all_reduce") return CollectiveKind::kAllReduce;
  if (kernel == "all_gather") return CollectiveKind::kAllGather;
  return std::nullopt;
}

const char* CheckCollective(CollectiveKind kind, const KernelCall& call, int num_ranks) noexcept {
  switch (kind) {
    case CollectiveKind::kAllReduce:
      return CheckAllReduce(call);
    case CollectiveKind::kAllGather:
      return CheckAllGather(call, num_ranks);
  }
  return "it is unknown";
}

void RunCollective(CollectiveKind kind, const KernelCall& call, const StepView& view, collectives::Collectives& group) {
  switch (kind) {
    case CollectiveKind::kAllReduce:
      return AllReduce(call, view, group);
    case CollectiveKind::kAllGather:
      return AllGather(call, view, group);
  }
}

}  // namespace intaglio::runtime
