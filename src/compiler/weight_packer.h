// Streams a checkpoint's tensors into the weights file: reads a few rows, packs them for the kernels, writes them at their place.
// All cores, one bounded buffer a core; no tensor is ever held whole.
#pragma once
#include <functional>

#include "base/output_file.h"
#include "base/thread_pool.h"
#include "checkpoint/checkpoint.h"
#include "compiler/layout.h"

namespace intaglio::compiler {

// Throws Error kDataLoss before anything is written when a tensor is missing or misshapen; the message names both shapes.
void CheckSources(const WeightLayout& layout, const checkpoint::Checkpoint& checkpoint);

struct PackContext {
  const checkpoint::Checkpoint& checkpoint;
  ThreadPool& pool;
  std::function<void(uint64_t done)> on_progress;  // bytes of the file done; called on the calling thread; may throw
};
// REQUIRES: CheckSources passed
void PackWeights(const WeightLayout& layout, const PackContext& context, OutputFile& file);

}  // namespace intaglio::compiler
