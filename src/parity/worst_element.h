// How far two tensors are apart, and where.
#pragma once
#include <cstdint>
#include <span>
#include <string>

namespace intaglio::parity {

struct WorstElement {
  double error = 0;          // largest |actual - expected|; infinite when one of them is not finite and they differ
  double mean_error = 0;
  double largest = 0;        // largest |expected|
  int64_t index = 0;         // flat index of the largest error
  float actual = 0, expected = 0;
};

// REQUIRES: equal sizes
[[nodiscard]] WorstElement FindWorst(std::span<const float> actual, std::span<const float> expected);
// "[3, 17]: 0.51 instead of 0.5", for a row-major matrix with `cols` columns.
[[nodiscard]] std::string Where(const WorstElement& worst, int64_t cols);

}  // namespace intaglio::parity
