#include "cli/statistics.h"

#include <algorithm>
#include <fstream>
#include <iomanip>
#include <sstream>
#include <string_view>

#include "base/strings.h"

namespace intaglio::cli {
namespace {

// A line such as "VmRSS:     1234 kB" of /proc/self/status.
uint64_t StatusBytes(std::string_view field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field)) return std::stoull(line.substr(field.size())) * 1024;
  }
  return 0;
}

std::string Rate(double per_second) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(1) << per_second << " tokens/s";
  return std::move(out).str();
}

}  // namespace

Statistics MakeStatistics(const Engine& engine, const GenerateRequest& request, const GenerateResult& result, double load_seconds) {
  return {.load_seconds = load_seconds,
          .prefill_seconds = result.prefill_seconds,
          .decode_seconds = result.decode_seconds,
          .prefill_tokens = std::ssize(request.prompt) - result.reused_tokens,
          .decode_tokens = std::max<int64_t>(0, std::ssize(result.ids) - 1),
          .planned_bytes = engine.info().planned_bytes()};
}

uint64_t RssBytes() { return StatusBytes("VmRSS:"); }
uint64_t PeakRssBytes() { return StatusBytes("VmHWM:"); }
bool ResetPeakRss() { return static_cast<bool>(std::ofstream("/proc/self/clear_refs") << "5" << std::flush); }

std::string ToString(const Statistics& s) {
  std::string text = StrCat("prefill ", s.prefill_tokens, " tokens, ", Rate(s.prefill_tokens_per_second()));
  if (s.decode_tokens > 0) text += StrCat("; decode ", s.decode_tokens, " tokens, ", Rate(s.decode_tokens_per_second()));
  return StrCat(text, "; memory ", FormatBytes(s.planned_bytes), " planned, ", FormatBytes(RssBytes()), " held, ", FormatBytes(PeakRssBytes()),
                " at peak");
}

}  // namespace intaglio::cli
