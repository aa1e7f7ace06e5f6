#include "parity/bf16_checks.h"

#include <algorithm>
#include <cmath>

#include "base/strings.h"
#include "parity/worst_element.h"

namespace intaglio::parity {
namespace {

constexpr double kDenseMean = 0.2;
constexpr float kClearMargin = 1.0f;   // the largest margin at which a top token was seen to flip is 0.64

ptrdiff_t TopToken(std::span<const float> row) { return std::ranges::max_element(row) - row.begin(); }

// Largest minus second largest.
float Margin(std::span<const float> row, ptrdiff_t top) {
  float second = -INFINITY;
  for (size_t i = 0; i < row.size(); ++i) second = static_cast<ptrdiff_t>(i) == top ? second : std::max(second, row[i]);
  return row[static_cast<size_t>(top)] - second;
}

}  // namespace

void Bf16Checks::AddPrompt(const std::string& name, std::span<const float> logits, std::span<const float> golden, int64_t vocab) {
  const WorstElement worst = FindWorst(logits, golden);
  error_sum_ += worst.mean_error * static_cast<double>(golden.size());
  num_logits_ += static_cast<int64_t>(golden.size());
  if (worst.error >= worst_) {
    worst_ = worst.error;
    worst_where_ = StrCat("largest ", worst.error, " at ", name, Where(worst, vocab));
  }
  for (size_t begin = 0; begin < golden.size(); begin += static_cast<size_t>(vocab)) {
    const auto want = golden.subspan(begin, static_cast<size_t>(vocab)), have = logits.subspan(begin, static_cast<size_t>(vocab));
    const ptrdiff_t top = TopToken(want), got = TopToken(have);
    if (got == top || Margin(want, top) <= kClearMargin) continue;
    ++flips_;
    flip_where_ = StrCat(name, " row ", begin / static_cast<size_t>(vocab), ": token ", got, " instead of ", top);
  }
}

std::vector<ParityCheck> Bf16Checks::Finish() const {
  const double mean = num_logits_ == 0 ? 0 : error_sum_ / static_cast<double>(num_logits_), allowed = has_experts_ ? expert_mean_ : kDenseMean;
  std::vector<ParityCheck> checks{
      {.name = "logits (mean error)", .worst = mean, .tolerance = allowed, .where = worst_where_, .is_ok = mean <= allowed}};
  if (!has_experts_)
    checks.push_back({.name = "top tokens", .worst = static_cast<double>(flips_), .tolerance = 0, .where = flip_where_, .is_ok = flips_ == 0});
  return checks;
}

}  // namespace intaglio::parity
