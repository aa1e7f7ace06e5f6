#include "parity/worst_element.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "base/assert.h"
#include "base/strings.h"

namespace intaglio::parity {

WorstElement FindWorst(std::span<const float> actual, std::span<const float> expected) {
  Assert(actual.size() == expected.size());
  WorstElement worst;
  double sum = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    double error = std::fabs(static_cast<double>(actual[i]) - static_cast<double>(expected[i]));
    if (std::isnan(error)) {
      const bool is_same = std::bit_cast<uint32_t>(actual[i]) == std::bit_cast<uint32_t>(expected[i]);
      error = is_same ? 0.0 : std::numeric_limits<double>::infinity();
    }
    sum += error;
    worst.largest = std::fmax(worst.largest, std::fabs(static_cast<double>(expected[i])));
    if (i == 0 || error > worst.error) {
      worst.error = error;
      worst.index = static_cast<int64_t>(i);
      worst.actual = actual[i];
      worst.expected = expected[i];
    }
  }
  worst.mean_error = actual.empty() ? 0 : sum / static_cast<double>(actual.size());
  return worst;
}

std::string Where(const WorstElement& worst, int64_t cols) {
  return StrCat('[', worst.index / cols, ", ", worst.index % cols, "]: ", worst.actual, " instead of ", worst.expected);
}

}  // namespace intaglio::parity
