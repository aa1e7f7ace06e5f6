// String building without <format>: StrCat("layer ", 3, " is ", shape) for anything that streams or has ToString().
#pragma once
#include <sstream>
#include <string>
#include <string_view>

namespace intaglio {

template <typename... Parts>
[[nodiscard]] std::string StrCat(const Parts&... parts) {
  std::ostringstream out;
  ((out << parts), ...);
  return std::move(out).str();
}

// "a, b, c" from any range of streamable values.
template <typename Range>
[[nodiscard]] std::string Join(const Range& values, std::string_view separator = ", ") {
  std::ostringstream out;
  bool is_first = true;
  for (const auto& value : values) {
    if (!is_first) out << separator;
    out << value;
    is_first = false;
  }
  return std::move(out).str();
}

}  // namespace intaglio
