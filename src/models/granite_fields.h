// The fields of config.json that the Granite families add to Llama's.
#pragma once
#include "models/architecture.h"

namespace intaglio::models {

// A Llama-like decoder with a multiplier on embeddings, scores, what each block adds, and logits.
[[nodiscard]] DecoderConfig ParseGranite(const checkpoint::HfConfig& config);

}  // namespace intaglio::models
