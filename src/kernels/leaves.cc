#include "kernels/leaves.h"

#include "kernels/params.h"

namespace intaglio::kernels {

int NumLeaves(const KernelCall& call) noexcept {
  const int64_t leaves = call.params.ints[kLeaves];
  return leaves == 0 ? kSegments : static_cast<int>(leaves);
}

const char* CheckLeaves(const KernelCall& call, const int64_t* borders) noexcept {
  const int64_t leaves = call.params.ints[kLeaves];
  if (leaves != 0 && leaves != 1 && leaves != 2 && leaves != 4 && leaves != kSegments) return "the number of leaves is not 1, 2, 4 or 8";
  return borders[NumLeaves(call)] == borders[kSegments] ? nullptr : "a segment is past the leaves";
}

}  // namespace intaglio::kernels
