#include "collectives/tree_sum.h"

#include <algorithm>
#include <bit>

namespace intaglio::collectives {
namespace {

// sum[i] = lower[i] + upper[i]. `sum` may be one of them.
void Add(const float* lower, const float* upper, int64_t count, float* sum) noexcept {
  for (int64_t i = 0; i < count; ++i) sum[i] = lower[i] + upper[i];
}

// Returns the sum's place: a single term's own, or else `sum`, which no term overlaps.
const float* SumBlock(std::span<const float* const> terms, int64_t begin, int64_t count, float* sum) noexcept {
  if (terms.size() == 1) return terms[0] + begin;
  const size_t half = std::bit_ceil(terms.size()) / 2;
  float space[kTreeBlock];
  const float* lower = SumBlock(terms.first(half), begin, count, sum);
  const float* upper = SumBlock(terms.subspan(half), begin, count, space);
  Add(lower, upper, count, sum);
  return sum;
}

}  // namespace

void TreeSum(std::span<const float* const> terms, int64_t begin, int64_t count, float* sum) noexcept {
  float space[kTreeBlock];   // not `sum`, which may be a term that has yet to be read
  for (int64_t i = 0; i < count; i += kTreeBlock) {
    const int64_t block = std::min(kTreeBlock, count - i);
    std::copy_n(SumBlock(terms, begin + i, block, space), block, sum + i);
  }
}

}  // namespace intaglio::collectives
