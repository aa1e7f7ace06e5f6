// Figures of a generation: for people on stderr, and for --json.
#pragma once
#include <cstdint>
#include <string>

#include "intaglio/engine.h"

namespace intaglio::cli {

struct Statistics {
  double load_seconds = 0, prefill_seconds = 0, decode_seconds = 0;
  int64_t prefill_tokens = 0, decode_tokens = 0;  // the first generated token comes out of prefill, so it is none of decode's
  uint64_t planned_bytes = 0;

  [[nodiscard]] double prefill_tokens_per_second() const { return prefill_seconds > 0 ? static_cast<double>(prefill_tokens) / prefill_seconds : 0; }
  [[nodiscard]] double decode_tokens_per_second() const { return decode_seconds > 0 ? static_cast<double>(decode_tokens) / decode_seconds : 0; }
};

[[nodiscard]] Statistics MakeStatistics(const Engine& engine, const GenerateRequest& request, const GenerateResult& result, double load_seconds);

// Resident memory of this process, now and at most so far. 0 where the system does not tell.
[[nodiscard]] uint64_t RssBytes();
[[nodiscard]] uint64_t PeakRssBytes();
// From here on PeakRssBytes() is the most since now. False where the system has no such thing.
bool ResetPeakRss();

// "prefill 12 tokens at 345.6/s, decode …"
[[nodiscard]] std::string ToString(const Statistics& statistics);

}  // namespace intaglio::cli
