// What an embedder computes, against a fixture's goldens: token ids of its texts, hidden states where there are any, and the vectors.
#pragma once
#include <filesystem>
#include <vector>

#include "checkpoint/safetensors.h"
#include "intaglio/engine.h"
#include "intaglio/parity.h"
#include "parity/golden.h"

namespace intaglio::parity {

struct EmbeddingGoldens {
  const Golden& golden;
  const checkpoint::SafetensorsFile& tensors;
  bool has_golden_weights = true;   // else vectors are held to their direction alone: weights were rounded to bfloat16
};
// `engine` runs a bundle of the fixture that keeps its probes.
[[nodiscard]] std::vector<ParityCheck> CheckEmbeddings(const std::filesystem::path& fixture, const EmbeddingGoldens& goldens, Engine& engine);

}  // namespace intaglio::parity
