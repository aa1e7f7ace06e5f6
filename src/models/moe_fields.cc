#include "models/moe_fields.h"

#include "base/fail.h"
#include "graph/infer.h"
#include "models/config_fields.h"

namespace intaglio::models {

graph::RouteAttrs ParseRoute(const checkpoint::HfConfig& config, const RouteDefaults& defaults) {
  const int64_t num_experts = Size(config, defaults.experts_key, defaults.num_experts), top_k = Size(config, "num_experts_per_tok", defaults.top_k);
  Require(num_experts <= graph::kMaxExperts, ErrorCode::kUnsupported, config.where(), ": ", defaults.experts_key, " is ", num_experts, "; at most ",
          graph::kMaxExperts, " are supported");
  Require(top_k <= num_experts && top_k <= graph::kMaxTopK, ErrorCode::kDataLoss, config.where(), ": num_experts_per_tok is ", top_k, " of ",
          num_experts, " experts (at most ", graph::kMaxTopK, ")");
  const std::string activation = config.String("hidden_act", "silu");
  Require(activation == "silu" || activation == "swish", ErrorCode::kUnsupported, config.where(), ": hidden_act is \"", activation,
          "\"; experts support silu");
  return {.num_experts = num_experts, .top_k = top_k};
}

}  // namespace intaglio::models
