// What tests of ranks share.
#pragma once
#include <vector>

#include "collectives/tree_sum.h"
#include "tests/kernels/harness.h"

namespace intaglio::kernels {

// The sum over ranks, as an all-reduce makes it.
inline Matrix AddRanks(const std::vector<Matrix>& parts) {
  Matrix sum(parts[0].rows(), parts[0].cols());
  for (int64_t r = 0; r < sum.rows(); ++r) {
    std::vector<const float*> terms;
    for (const Matrix& part : parts) terms.push_back(part.row(r));
    collectives::TreeSum(terms, 0, sum.cols(), sum.row(r));
  }
  return sum;
}

}  // namespace intaglio::kernels
