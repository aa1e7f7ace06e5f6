// What a bundle's steps must do at least, counted from its plans: what a measured speed is compared with the machine's limits by.
#pragma once
#include <cstdint>
#include <filesystem>

namespace intaglio {

struct Work {   // of all ranks together
  // Parameters of the matrices that every token of a prompt is multiplied by; the head is not among them, as a prompt has one output.
  double prefill_parameters = 0;
  // Read by one step of token generation for all sequences of the batch together: matrices and their biases once, keys, values and
  // recurrent states of each sequence. Mean over the steps of a generation.
  double decode_bytes = 0;
  // A mixture of experts: which weights a step uses depends on the tokens, so its experts are in neither figure.
  bool has_experts = false;
};
struct Decoding {
  int32_t batch = 1;   // sequences in a step
  int32_t depth = 0;   // tokens of each before the first step
  int32_t steps = 1;
};

// Throws Error kDataLoss or kNotFound for a bundle that is not whole, kInvalidArgument when no graph takes the batch.
[[nodiscard]] Work CountWork(const std::filesystem::path& bundle, const Decoding& decoding);

}  // namespace intaglio
