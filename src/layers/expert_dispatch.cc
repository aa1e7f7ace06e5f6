#include "layers/expert_dispatch.h"

namespace intaglio::layers {

int64_t BytesSavedByExchange(const ExpertTraffic& traffic, int num_ranks) {
  const int64_t bytes = traffic.rows * traffic.hidden_size * static_cast<int64_t>(sizeof(float));
  return bytes * (num_ranks - traffic.top_k) * (num_ranks - 1) / (int64_t{num_ranks} * num_ranks);
}

bool UsesExchange(graph::ExpertDispatch dispatch, const ExpertTraffic& traffic, const graph::RankPlace& place) {
  if (place.is_alone() || place.expert_tp() != 1) return false;
  if (dispatch != graph::ExpertDispatch::kAuto) return dispatch == graph::ExpertDispatch::kExchange;
  return BytesSavedByExchange(traffic, place.tp_degree) > kMeetingBytes;
}

}  // namespace intaglio::layers
