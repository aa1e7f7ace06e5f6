// The calls of a plan that the ranks of a model make together. They stand between kernels in a rank's plan, and are run by the thread that
// walks it; which they are, and what their operands mean, is in kernels/params.h.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "collectives/collectives.h"
#include "kernels/kernel.h"

namespace intaglio::runtime {

enum class CollectiveKind : uint8_t { kAllReduce, kAllGather, kExpertExchange, kRowGather, kGatherResults, kGatherCandidates };

// Nullopt: a kernel's name.
[[nodiscard]] std::optional<CollectiveKind> CollectiveOf(std::string_view kernel) noexcept;
// Null when operands and numbers fit together, else what is wrong, as Kernel::Check.
[[nodiscard]] const char* CheckCollective(CollectiveKind kind, const kernels::KernelCall& call, const collectives::Collectives& group) noexcept;
// How a rank of several is connected to the others.
struct RankLink {
  collectives::Collectives* group = nullptr;              // null: a bundle's only rank
  collectives::Wire wire = collectives::Wire::kF32;       // in what form the terms of all-reduces travel
  bool overlaps = false;                                  // sums of some rows of a prompt travel while the next are computed
};

// Over the live rows of the step. Throws the group's Error.   REQUIRES: CheckCollective passed
void RunCollective(CollectiveKind kind, const kernels::KernelCall& call, const kernels::StepView& view, const RankLink& link);
// The floats that an all-reduce sums over ranks: those of rows [begin, end) of its operand, what pads them included.
[[nodiscard]] std::span<float> SummedFloats(const kernels::Tensor& x, int64_t begin, int64_t end) noexcept;
// Numbers that are few travel as they are: they are sums for a whole row each.
[[nodiscard]] collectives::Wire WireOf(const kernels::Tensor& x, const RankLink& link) noexcept;

}  // namespace intaglio::runtime
