// Streams a checkpoint's tensors into the weights file: reads a few rows, packs them for the kernels, writes them at their place.
// All cores, one bounded buffer a core; no tensor is ever held whole.
#pragma once
#include <functional>
#include <span>

#include "base/output_file.h"
#include "base/thread_pool.h"
#include "checkpoint/checkpoint.h"
#include "compiler/layout.h"

namespace intaglio::compiler {

// Throws Error before anything is planned or written when a tensor is missing (kNotFound) or misshapen (kDataLoss; the message names both
// shapes). What passes is bounded by the size of the checkpoint.
void CheckSources(const graph::Graph& graph, const checkpoint::Checkpoint& checkpoint);

// What a bundle holds of the elements [..., K] of a matrix, for the oracle. Throws Error kDataLoss for numbers that the format cannot hold.
void RoundAsStored(const graph::Weight& weight, const checkpoint::Checkpoint& checkpoint, std::span<float> elements);

struct PackContext {
  const checkpoint::Checkpoint& checkpoint;
  ThreadPool& pool;
  std::function<void(uint64_t done)> on_progress;  // bytes of the file done; called on the calling thread; may throw
};
// REQUIRES: CheckSources passed for every graph of the layout
void PackWeights(const WeightLayout& layout, const PackContext& context, OutputFile& file);

}  // namespace intaglio::compiler
