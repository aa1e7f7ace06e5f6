// Linear attention by the gated delta rule: instead of keys and values of every position, a matrix for each value head, which every token
// decays and corrects. From Yang et al., "Gated Delta Networks" (arXiv 2412.06464), as modeling_qwen3_next.py has it.
#pragma once
#include "layers/linear.h"
#include "layers/norm.h"

namespace intaglio::layers {

struct DeltaNetConfig {
  int64_t key_heads = 0, value_heads = 0, key_dim = 0, value_dim = 0;   // each key head serves value_heads / key_heads value heads
  int64_t taps = 0;                                                     // of the convolution
  NormConfig norm;                                                      // of each value head, before it is gated
};

// x -> in_proj_qkvz, in_proj_ba -> conv1d -> delta rule -> norm, gate -> out_proj. Probes: attn_in, attn_out.
[[nodiscard]] graph::ValueRef GatedDeltaNet(const graph::Builder& b, graph::ValueRef x, const DeltaNetConfig& config);

}  // namespace intaglio::layers
