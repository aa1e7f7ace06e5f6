// How well logits match by the rank of a token: an error at a token that nobody would sample says less than one at the top. Bands are the
// golden's 5, 50 and 1000 most likely tokens of each row, and all tokens.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "intaglio/parity.h"

namespace intaglio::parity {

class LogitMatch {
 public:
  explicit LogitMatch(int64_t vocab);
  // Logits [rows, vocab] of one prompt and their goldens.   REQUIRES: equal sizes
  void AddPrompt(const std::string& name, std::span<const float> logits, std::span<const float> golden);

  // Bands that are no wider than the vocabulary, then all.
  [[nodiscard]] std::vector<LogitBand> bands() const;
  // Divergence of softmax(logits) from softmax(golden), in nats, over all rows.
  [[nodiscard]] LogitDivergence divergence() const;
  // Each band's worst error against its tolerance, and the divergence that such errors could cause.
  [[nodiscard]] std::vector<ParityCheck> Checks(std::span<const double> tolerances) const;

 private:
  struct Band {
    LogitBand figures;
    double sum = 0;
    int64_t count = 0;
  };
  void AddRow(const std::string& where, std::span<const float> logits, std::span<const float> golden);

  const int64_t vocab_;
  std::vector<Band> bands_;
  LogitDivergence divergence_;
  double divergence_sum_ = 0;
  int64_t num_rows_ = 0;
  std::vector<int32_t> order_;   // of one row: the golden's likeliest tokens first, as far as the bands go
};

}  // namespace intaglio::parity
