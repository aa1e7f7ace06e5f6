// The distribution of the next token that a row of logits means, and how far one is from another. Pure, safe from any thread.
#pragma once
#include <cstddef>
#include <span>

namespace intaglio::parity {

// softmax(logits), in double.
class Distribution {
 public:
  // Keeps the span.   REQUIRES: not empty
  explicit Distribution(std::span<const float> logits);
  [[nodiscard]] double LogProbability(size_t token) const { return logits_[token] - norm_; }
  // The first of the likeliest.
  [[nodiscard]] size_t likeliest() const { return likeliest_; }
  [[nodiscard]] size_t size() const { return logits_.size(); }

 private:
  std::span<const float> logits_;
  size_t likeliest_;
  double norm_;
};

// KL(golden || ours) in nats, at least 0; 0 for equal logits. Infinite where either has a logit that is not a number.   REQUIRES: equal sizes
[[nodiscard]] double Divergence(const Distribution& ours, const Distribution& golden);

}  // namespace intaglio::parity
