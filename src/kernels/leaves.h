// How many of a call's canonical segments are there: the leaves of its own tree. A rank of several owns a subtree of the eight segments and
// stops at that subtree's root; empty leaves in place of other ranks' segments would turn a total of -0 into +0.
#pragma once
#include "kernels/kernel.h"

namespace intaglio::kernels {

// 1, 2, 4 or 8: the call's kLeaves, of which 0 means 8.   REQUIRES: CheckLeaves
[[nodiscard]] int NumLeaves(const KernelCall& call) noexcept;
// Null when the call's number of leaves is one of those and no segment is past them: borders[leaves], … borders[8] are all equal.
// REQUIRES: borders ascend
[[nodiscard]] const char* CheckLeaves(const KernelCall& call, const int64_t* borders) noexcept;

}  // namespace intaglio::kernels
