// The parity gate of a bundle: what a comparison with Transformers, or with another bundle of the model, said about it at export, as its
// manifest keeps it.
#pragma once
#include <cstdint>
#include <optional>
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

// How far the distributions of next tokens of a bundle are from those of a reference, another bundle of the same model, on a text.
struct TextAccuracy {
  std::string bundle{}, reference{};   // "llama-tiny, f32 weights"
  std::string isa{};                 // which computed both; the others give the same bits
  int64_t context = 0, windows = 0;  // tokens of a window; windows
  int64_t tokens = 0;                // whose distributions were compared
  double kl_mean = 0, kl_p99 = 0, kl_worst = 0;   // KL(reference || bundle) in nats: mean, 99th percentile, largest
  double top1_agreement = 0;         // share of the tokens of which both find the same one likeliest
  double perplexity = 0, reference_perplexity = 0;
  [[nodiscard]] double perplexity_ratio() const { return perplexity / reference_perplexity; }
};

struct ParityGate {
  bool is_ok = false;
  std::string capture, capture_digest;   // name and digest of the goldens, or of the text
  std::string isa;                       // which computed it; the others give the same bits
  double divergence_mean = 0, divergence_worst = 0;   // KL(golden || bundle) of next-token distributions, in nats
  int64_t first_divergence = -1;         // index of the first greedy token that differs; -1: none
  std::vector<GateCheck> checks;
  std::optional<TextAccuracy> text{};    // of a comparison on a text
};

}  // namespace intaglio
