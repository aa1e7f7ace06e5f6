// The calls of a plan that the ranks of a model make together. They stand between kernels in a rank's plan, and are run by the thread that
// walks it; which they are, and what their operands mean, is in kernels/params.h.
#pragma once
#include <optional>
#include <string_view>

#include "collectives/collectives.h"
#include "kernels/kernel.h"

namespace intaglio::runtime {

enum class CollectiveKind : uint8_t { kAllReduce, kAllGather, kExpertExchange, kRowGather, kGatherResults, kGatherCandidates };

// Nullopt: a kernel's name.
[[nodiscard]] std::optional<CollectiveKind> CollectiveOf(std::string_view kernel) noexcept;
// Null when operands and numbers fit together, else what is wrong, as Kernel::Check.
[[nodiscard]] const char* CheckCollective(CollectiveKind kind, const kernels::KernelCall& call, const collectives::Collectives& group) noexcept;
// Over the live rows of the step. Throws the group's Error.   REQUIRES: CheckCollective passed
void RunCollective(CollectiveKind kind, const kernels::KernelCall& call, const kernels::StepView& view, collectives::Collectives& group);

}  // namespace intaglio::runtime
