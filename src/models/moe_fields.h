// The fields of config.json that families with mixtures of experts share.
#pragma once
#include <string_view>

#include "checkpoint/hf_config.h"
#include "layers/moe.h"

namespace intaglio::models {

struct RouteDefaults {
  std::string_view experts_key = "num_experts";
  int64_t num_experts = 0, top_k = 0;   // where config.json says nothing
};
// Number of experts and how many a row gets; softmax scoring, no groups. Throws Error kDataLoss for counts that cannot be.
[[nodiscard]] graph::RouteAttrs ParseRoute(const checkpoint::HfConfig& config, const RouteDefaults& defaults);

}  // namespace intaglio::models
