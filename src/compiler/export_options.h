// Export options with every default filled in and every value checked against the model, but for those of weights (weight_formats.h).
#pragma once
#include <cstdint>
#include <vector>

#include "intaglio/export.h"
#include "models/decoder.h"

namespace intaglio::compiler {

struct ResolvedOptions {
  DType kv_dtype = DType::kF32;
  int64_t max_context = 0;
  int32_t max_slots = 0, speculation = 0;
  int32_t tp_degree = 1, ep_degree = 1;
  double capacity_factor = 0;
  graph::ExpertDispatch expert_dispatch = graph::ExpertDispatch::kAuto;
  std::vector<int32_t> prefill_buckets, batch_buckets;   // ascending, unique
};

// Throws Error kInvalidArgument naming the option, what was given and what is possible.
[[nodiscard]] ResolvedOptions Resolve(const ExportOptions& options, const models::Model& model);
// The graphs of one rank of a bundle, in the order in which plans are stored.
[[nodiscard]] std::vector<models::GraphSizes> GraphsOf(const ResolvedOptions& options, int rank = 0);

}  // namespace intaglio::compiler
