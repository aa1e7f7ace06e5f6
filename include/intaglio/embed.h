// Embeddings: a vector for each text, from a bundle that was exported to embed (ModelInfo::task).
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "intaglio/engine.h"

namespace intaglio {

// One vector of info().embedding_dim numbers a text, in order; `texts` are token ids, special ones included. As many texts share a step as
// it has rows and free slots for, which changes no bit of any vector. Throws Error kUnsupported for a bundle that generates text,
// kInvalidArgument for a text without tokens or one that is too long, kResourceExhausted when no slot is free.
[[nodiscard]] std::vector<std::vector<float>> Embed(Engine& engine, std::span<const std::vector<int32_t>> texts);

}  // namespace intaglio
