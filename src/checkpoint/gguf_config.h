// GGUF metadata -> Hugging Face's config.json.
#pragma once
#include <string>

#include "checkpoint/gguf.h"

namespace intaglio::checkpoint {

// Throws Error kUnsupported for what config.json cannot say (unknown architecture, rotary factors of no known kind), kDataLoss for
// missing or contradictory metadata.
[[nodiscard]] std::string GgufConfigJson(const GgufFile& file);

}  // namespace intaglio::checkpoint
