#include "checkpoint/gguf_rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

namespace intaglio::checkpoint {
namespace {

double Wavelength(double theta, size_t pair, size_t num_pairs) {
  return 2 * std::numbers::pi * std::pow(theta, static_cast<double>(pair) / static_cast<double>(num_pairs));
}

// What llama.cpp's converter stores for this wavelength (convert_hf_to_gguf.py, LlamaModel.generate_extra_tensors).
double ExpectedFactor(const Llama3Scaling& scaling, double wavelength) {
  const auto original = static_cast<double>(scaling.original_max_position_embeddings);
  if (wavelength < original / scaling.high_freq_factor) return 1.0;
  if (wavelength > original / scaling.low_freq_factor) return scaling.factor;
  const double smooth = (original / wavelength - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
  return 1.0 / ((1.0 - smooth) / scaling.factor + smooth);
}

bool Explains(const Llama3Scaling& scaling, std::span<const float> factors, double theta) {
  constexpr double kTolerance = 1e-4;  // the factors went through float32 powers
  for (size_t i = 0; i < factors.size(); ++i) {
    const double expected = ExpectedFactor(scaling, Wavelength(theta, i, factors.size()));
    if (!(std::abs(factors[i] - expected) <= kTolerance * expected)) return false;
  }
  return true;
}

// The original context that makes the first factor strictly between 1 and `factor` come out right; 0 if there is no such factor.
int64_t FromInterpolated(const Llama3Scaling& scaling, std::span<const float> factors, double theta) {
  for (size_t i = 0; i < factors.size(); ++i) {
    if (!(factors[i] > 1.001f && factors[i] < 0.999 * scaling.factor)) continue;
    const double smooth = (1.0 / factors[i] - 1.0 / scaling.factor) / (1.0 - 1.0 / scaling.factor);
    const double original = Wavelength(theta, i, factors.size()) * (scaling.low_freq_factor + smooth * (scaling.high_freq_factor - scaling.low_freq_factor));
    return original < 1e15 ? std::llround(original) : 0;
  }
  return 0;
}

}  // namespace

std::optional<Llama3Scaling> DeriveLlama3Scaling(std::span<const float> factors, double theta, int64_t original_context) {
  if (factors.empty() || !(theta > 1)) return std::nullopt;
  Llama3Scaling scaling;  // every published model has low_freq_factor 1 and high_freq_factor 4
  const double factor = *std::max_element(factors.begin(), factors.end());
  // The converter writes the plain factor for the longest waves, so no rounding hides a whole or half number.
  if (!std::isfinite(factor) || !(factor > 1)) return std::nullopt;
  scaling.factor = factor;
  std::vector<int64_t> candidates{original_context, FromInterpolated(scaling, factors, theta)};
  for (int64_t power = 16; power <= int64_t{1} << 24; power *= 2) candidates.push_back(power);
  for (const int64_t candidate : candidates) {
    scaling.original_max_position_embeddings = candidate;
    if (candidate > 0 && Explains(scaling, factors, theta)) return scaling;
  }
  return std::nullopt;
}

}  // namespace intaglio::checkpoint
