// The order in which what ranks computed is added: the binary tree that matmul adds the canonical segments by, of which rank r's term is
// a subtree. Two terms meet as lower + upper; eight are ((0+1)+(2+3))+((4+5)+(6+7)). Where their number is no power of two, the missing
// last ones are left out: three are (0+1)+2, which is no longer what eight segments give. Pure function, safe from any thread.
#pragma once
#include <cstdint>
#include <span>

namespace intaglio::collectives {

// Elements that a level of the tree holds at a time, on the stack.
inline constexpr int64_t kTreeBlock = 1024;

// sum[i] = the tree over terms[.][begin + i], for i in [0, count). `sum` may be terms[t] + begin for any t.   REQUIRES: terms is not empty
void TreeSum(std::span<const float* const> terms, int64_t begin, int64_t count, float* sum) noexcept;

}  // namespace intaglio::collectives
