// Times a bundle through the public API: one round is a load, a first request, a prefill and a decode, then the machine's limits beside it.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "intaglio/engine.h"
#include "intaglio/work.h"

namespace intaglio::cli {

struct BenchShape {
  int32_t prefill = 512, decode = 64;   // tokens of the prompt; steps
  int32_t depth = 0, batch = 1;         // tokens in each sequence's KV cache before decoding; sequences
};

// What one round measured.
struct Round {
  double load_seconds = 0, first_token_seconds = 0;
  double prefill_tokens_per_second = 0, decode_tokens_per_second = 0;
  std::optional<uint64_t> peak_rss_bytes;         // nullopt: the system cannot tell it apart from the rounds before
  double read_bytes_per_second = 0;               // of the machine: the most by 1, 2, 4 or 8 streams a thread
  std::optional<double> fma_operations_per_second;  // of the machine, 2 a multiply-add; nullopt: this CPU has neither AVX2 nor AVX-512
  std::optional<double> int8_operations_per_second;  // of the machine, by the best instructions for sums of products of int8 that it has
};

struct Measurement {
  ModelInfo model;
  Work work;
  std::vector<Round> rounds;
};

// Called before each part of a round.
using OnPart = std::function<void(std::string_view part, uint64_t done, uint64_t total)>;
// Throws Error kInvalidArgument naming the option that the bundle has no room for, kUnsupported for an embedder's bundle.
[[nodiscard]] Measurement Measure(const std::filesystem::path& bundle, const EngineOptions& options, const BenchShape& shape, int num_rounds,
                                  const OnPart& on_part);

}  // namespace intaglio::cli
