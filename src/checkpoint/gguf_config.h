// GGUF metadata -> Hugging Face's config.json.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "checkpoint/gguf.h"

namespace intaglio::checkpoint {

// Throws Error kUnsupported for what config.json cannot say (unknown architecture, rotary factors of no known kind), kDataLoss for
// missing or contradictory metadata.
[[nodiscard]] std::string GgufConfigJson(const GgufFile& file);

// The llama3 rotary scaling behind a rope_freqs.weight, which stores the finished factors but not the parameters.
struct Llama3Scaling {
  double factor = 1.0, low_freq_factor = 1.0, high_freq_factor = 4.0;
  int64_t original_max_position_embeddings = 0;
};

// The parameters that give `factors` (one per rotary pair, divisors of the frequencies theta^(-i / size)); nullopt if none do.
// `original_context`: what the file states, or 0. Where several values of it give the same factors, a power of two is preferred.
[[nodiscard]] std::optional<Llama3Scaling> DeriveLlama3Scaling(std::span<const float> factors, double theta, int64_t original_context);

}  // namespace intaglio::checkpoint
