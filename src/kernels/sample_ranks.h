// Sampling over a vocabulary that ranks share, each with whole canonical segments of it. Every rank ends with the id and the
// log-probabilities, bit for bit, that `sample` gives one rank; the calls of a plan, in order:
//
//   sample_local              logits of the rank's columns to processed ones, and a result for each of its segments
//   sample_gather_results     all segments' results, to all ranks
//   sample_draw               sums of a segment, and the draws that need no threshold, into its results
//   sample_gather_results     again (kRound 1)
//   sample_pick               what other ranks need to find a threshold and the likeliest tokens: a box for each segment and row
//   sample_gather_candidates  all boxes, as far as they are full, to all ranks
//   sample_decide             ids, log-probabilities
//
// Kernels work within W, the one workspace of them all. The two collectives are the device's: here is which bytes of W they move. What a
// step does not need is empty, on all ranks alike: greedy rows without log-probabilities take one collective, most others two.
// Pure functions of W and a step; safe from any thread that no kernel runs beside.
#pragma once
#include <array>
#include <cstdint>
#include <span>

#include "kernels/kernel.h"

namespace intaglio::kernels {

// Canonical segments [FirstSegment(r), FirstSegment(r + 1)) are rank r's.   REQUIRES: 1 <= num_ranks <= 8
[[nodiscard]] int FirstSegment(int rank, int num_ranks) noexcept;

// Bytes of W that every rank fills its share of and receives the others' of, in place. Empty: there is nothing to gather in this step.
struct SampleGather {
  std::span<std::byte> bytes;
  std::array<int64_t, kSegments + 1> borders{};   // rank r's share is [borders[r], borders[r + 1]), in bytes
};

// sample_gather_results: the one gather that it is.
[[nodiscard]] SampleGather GatherOfResults(const KernelCall& call, const StepView& step, int num_ranks) noexcept;
// sample_gather_candidates is two, of which the second follows from what the first has brought: how full the boxes are, and the boxes.
// PackCandidates moves the rank's own boxes to where its share begins, so it is to be called once, after the first gather.
[[nodiscard]] SampleGather GatherOfCandidateBytes(const KernelCall& call, const StepView& step, int num_ranks) noexcept;
[[nodiscard]] SampleGather PackCandidates(const KernelCall& call, const StepView& step, int num_ranks) noexcept;

// Null when a call of either collective fits together, else what is wrong, as Kernel::Check has it; with it no gather leaves W.
[[nodiscard]] const char* CheckSampleGather(const KernelCall& call, int rank, int num_ranks) noexcept;

}  // namespace intaglio::kernels
