#include "parity/logit_match.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/assert.h"
#include "base/strings.h"
#include "parity/distribution.h"

namespace intaglio::parity {
namespace {

std::string NameOf(int64_t top) { return top == 0 ? "all" : StrCat("top ", top); }

}  // namespace

LogitMatch::LogitMatch(int64_t vocab) : vocab_(vocab), order_(static_cast<size_t>(vocab)) {
  for (int64_t top : kLogitBands) {
    if (top < vocab) bands_.push_back({.figures = {.top = top, .where = {}}});
  }
}

void LogitMatch::AddPrompt(const std::string& name, std::span<const float> logits, std::span<const float> golden) {
  Assert(logits.size() == golden.size());
  const auto vocab = static_cast<size_t>(vocab_);
  for (size_t row = 0; row < golden.size() / vocab; ++row) {
    AddRow(StrCat(name, '[', row, ", "), logits.subspan(row * vocab, vocab), golden.subspan(row * vocab, vocab));
  }
}

void LogitMatch::AddRow(const std::string& where, std::span<const float> logits, std::span<const float> golden) {
  std::iota(order_.begin(), order_.end(), 0);
  int64_t widest = 0;
  for (const Band& band : bands_) widest = std::max(widest, band.figures.top);
  std::partial_sort(order_.begin(), order_.begin() + widest, order_.end(), [&](int32_t a, int32_t b) {
    return golden[static_cast<size_t>(a)] != golden[static_cast<size_t>(b)] ? golden[static_cast<size_t>(a)] > golden[static_cast<size_t>(b)] : a < b;
  });
  for (Band& band : bands_) {
    const int64_t size = band.figures.top == 0 ? vocab_ : band.figures.top;
    for (int64_t i = 0; i < size; ++i) {
      const auto token = static_cast<size_t>(order_[static_cast<size_t>(i)]);
      double error = std::fabs(static_cast<double>(logits[token]) - golden[token]);
      if (std::isnan(error)) error = INFINITY;
      band.sum += error;
      if (error <= band.figures.worst) continue;
      band.figures.worst = error;
      band.figures.where = StrCat(where, token, "]: ", logits[token], " instead of ", golden[token]);
    }
    band.count += size;
  }
  const double divergence = Divergence(Distribution(logits), Distribution(golden));
  divergence_sum_ += divergence;
  ++num_rows_;
  if (divergence <= divergence_.worst) return;
  divergence_.worst = divergence;
  divergence_.where = where.substr(0, where.size() - 2) + "]";
}

std::vector<LogitBand> LogitMatch::bands() const {
  std::vector<LogitBand> figures;
  for (const Band& band : bands_) {
    figures.push_back(band.figures);
    figures.back().mean = band.count == 0 ? 0 : band.sum / static_cast<double>(band.count);
  }
  return figures;
}

LogitDivergence LogitMatch::divergence() const {
  LogitDivergence divergence = divergence_;
  divergence.mean = num_rows_ == 0 ? 0 : divergence_sum_ / static_cast<double>(num_rows_);
  return divergence;
}

std::vector<ParityCheck> LogitMatch::Checks(std::span<const double> tolerances) const {
  std::vector<ParityCheck> checks;
  double widest = 0;
  for (const LogitBand& band : bands()) {
    const auto index = std::ranges::find(kLogitBands, band.top) - kLogitBands.begin();
    const double allowed = tolerances[static_cast<size_t>(index)];
    widest = std::max(widest, allowed);
    checks.push_back({.name = StrCat("logits, ", NameOf(band.top)),
                      .worst = band.worst,
                      .tolerance = allowed,
                      .where = band.where,
                      .is_ok = band.worst <= allowed});
  }
  // Hoeffding's lemma: logits that are at most e off move the distribution by at most e² / 2. Below 1e-12 double's rounding shows.
  const double allowed = std::max(widest * widest / 2, 1e-12);
  checks.push_back(
      {.name = "KL divergence", .worst = divergence_.worst, .tolerance = allowed, .where = divergence_.where, .is_ok = divergence_.worst <= allowed});
  return checks;
}

}  // namespace intaglio::parity
