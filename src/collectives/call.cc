#include "collectives/call.h"

#include <algorithm>
#include <array>

#include "base/strings.h"

namespace intaglio::collectives {
namespace {

std::string Describe(const Call& call) {
  if (call.kind == CallKind::kBarrier) return std::string(Name(call.kind));
  const bool is_sum = call.kind == CallKind::kAllReduce || call.kind == CallKind::kReduceScatter;
  const bool is_bf16 = call.wire == static_cast<uint32_t>(Wire::kBf16);
  return StrCat(Name(call.kind), " of ", call.count, is_sum ? " floats" : " bytes", is_bf16 ? " as bf16" : "");
}

}  // namespace

std::string_view Name(CallKind kind) {
  constexpr std::array<std::string_view, 6> kNames{"barrier", "all-reduce", "reduce-scatter", "all-gather", "all-to-all", "broadcast"};
  const auto i = static_cast<size_t>(kind);
  return i < kNames.size() ? kNames[i] : "unknown call";   // of another version
}

bool Agree(const Call& a, const Call& b) { return a == b || (a.kind == CallKind::kAllToAll && b.kind == CallKind::kAllToAll); }

std::string Disagreement(const Call& mine, int other, const Call& theirs) {
  const std::string what = Describe(mine), others = Describe(theirs);
  return StrCat("asks for ", what, ", but rank ", other, " for ", what == others ? "it with other shares or another root" : others,
                "; do they run the same bundle and version?");
}

bool AreBorders(Borders borders, int size, size_t count) {
  return borders.size() == static_cast<size_t>(size) + 1 && borders.front() == 0 && borders.back() == static_cast<int64_t>(count) &&
         std::ranges::is_sorted(borders);
}

uint64_t Digest(Borders borders) {
  uint64_t digest = 0xcbf29ce484222325u;
  for (int64_t border : borders) {
    digest = (digest ^ static_cast<uint64_t>(border)) * 0x9e3779b97f4a7c15u;
    digest ^= digest >> 32;
  }
  return digest;
}

}  // namespace intaglio::collectives
