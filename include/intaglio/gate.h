// The parity gate of a bundle: what a comparison with Transformers said about it at export, as its manifest keeps it.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace intaglio {

// The worst of all checks of a kind: "attn_out", "greedy_ids", "hidden", "logits, top 5", …
struct GateCheck {
  std::string kind;
  int64_t count = 0;
  double worst = 0, tolerance = 0;
  bool is_ok = false;
};

struct ParityGate {
  bool is_ok = false;
  std::string capture, capture_digest;   // name and digest of the goldens
  std::string isa;                       // which computed it; the others give the same bits
  double divergence_mean = 0, divergence_worst = 0;   // KL(golden || bundle) of next-token distributions, in nats
  int64_t first_divergence = -1;         // index of the first greedy token that differs; -1: none
  std::vector<GateCheck> checks;
};

}  // namespace intaglio
