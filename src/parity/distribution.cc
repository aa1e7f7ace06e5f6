#include "parity/distribution.h"

#include <algorithm>
#include <cmath>

#include "base/assert.h"

namespace intaglio::parity {

Distribution::Distribution(std::span<const float> logits)
    : logits_(logits), likeliest_(static_cast<size_t>(std::ranges::max_element(logits) - logits.begin())) {
  const double largest = logits[likeliest_];
  double sum = 0;
  for (float value : logits) sum += std::exp(value - largest);
  norm_ = largest + std::log(sum);
}

double Divergence(const Distribution& ours, const Distribution& golden) {
  Assert(ours.size() == golden.size());
  double sum = 0;
  for (size_t i = 0; i < golden.size(); ++i) {
    const double log_p = golden.LogProbability(i), p = std::exp(log_p);
    if (!(p <= 0)) sum += p * (log_p - ours.LogProbability(i));
  }
  if (std::isnan(sum)) return INFINITY;
  return std::max(sum, 0.0);   // rounding may leave a hair less
}

}  // namespace intaglio::parity
