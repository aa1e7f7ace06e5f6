#include "checkpoint/nearest_names.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/fail.h"
#include "checkpoint/json.h"

namespace intaglio::checkpoint {
namespace {

// Only the first characters count: names come from files and may be of any length.
constexpr size_t kMaxCompared = 128;
constexpr size_t kMaxNearest = 3;

size_t EditDistance(std::string_view a, std::string_view b) {
  a = a.substr(0, kMaxCompared);
  b = b.substr(0, kMaxCompared);
  std::vector<size_t> row(b.size() + 1);  // distances of a[0, i) to every prefix of b
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t substituted = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = std::exchange(row[j + 1], std::min({row[j] + 1, row[j + 1] + 1, substituted}));
    }
  }
  return row.back();
}

}  // namespace

std::vector<std::string> NearestNames(std::string_view name, const std::vector<std::string>& names) {
  std::vector<std::pair<size_t, const std::string*>> ranked;
  for (const std::string& candidate : names) ranked.emplace_back(EditDistance(name, candidate), &candidate);
  const size_t count = std::min(kMaxNearest, ranked.size());
  const auto is_nearer = [](const auto& a, const auto& b) { return a.first != b.first ? a.first < b.first : *a.second < *b.second; };
  std::partial_sort(ranked.begin(), ranked.begin() + static_cast<std::ptrdiff_t>(count), ranked.end(), is_nearer);
  std::vector<std::string> nearest;
  for (size_t i = 0; i < count; ++i) nearest.push_back(*ranked[i].second);
  return nearest;
}

void FailUnknownTensor(std::string_view where, std::string_view name, const std::vector<std::string>& names) {
  if (names.empty()) Fail(ErrorCode::kNotFound, where, ": no tensor ", Quoted(name), "; the file has none at all");
  std::vector<std::string> quoted;
  for (const std::string& near : NearestNames(name, names)) quoted.push_back(Quoted(near));
  Fail(ErrorCode::kNotFound, where, ": no tensor ", Quoted(name), "; the nearest of ", names.size(), " names: ", Join(quoted));
}

}  // namespace intaglio::checkpoint
