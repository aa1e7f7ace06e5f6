// The rows of a mixture of experts on their way to the ranks that combine them: which bytes expert_exchange moves, and where to. Positions and
// offsets are the same on all ranks, so every rank knows what each of the others sends. Rows travel in the order of the step's rows, and of
// the choices of a row. The transfer itself, an all-to-all, is the device's.
// Pure functions of a call and a step; safe from any thread that no kernel runs beside.
#pragma once
#include <array>
#include <cstdint>
#include <span>

#include "kernels/kernel.h"

namespace intaglio::kernels {

struct RankOf {
  int rank = 0, num_ranks = 1;
};

// Both sides of a rank, in W: share r of `to` goes to rank r, share r of `from` comes from it. A rank sends itself nothing.
struct ExpertRowExchange {
  std::span<std::byte> to, from;
  std::array<int64_t, kSegments + 1> to_borders{}, from_borders{};   // in bytes
};

// Null when a call of expert_exchange fits together, else what is wrong, as Kernel::Check has it; with it nothing leaves y and W.
[[nodiscard]] const char* CheckExpertExchange(const KernelCall& call, const RankOf& own) noexcept;
// Puts what the rank's own experts made of other ranks' rows into `to`.   REQUIRES: CheckExpertExchange passed
[[nodiscard]] ExpertRowExchange PackExpertRows(const KernelCall& call, const StepView& step, const RankOf& own) noexcept;
// Puts what came into y.
void UnpackExpertRows(const KernelCall& call, const StepView& step, const RankOf& own, const ExpertRowExchange& exchange) noexcept;

}  // namespace intaglio::kernels
