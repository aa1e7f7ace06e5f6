// String building without <format>: StrCat("layer ", 3, " is ", shape) for anything that streams or has ToString().
#pragma once
#include <array>
#include <charconv>
#include <cstdint>
#include <iomanip>
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

// The shortest decimal digits that read back as the same float or double.
template <typename Float>
[[nodiscard]] std::string Exact(Float value) {
  std::array<char, 32> text{};
  return {text.data(), std::to_chars(text.data(), text.data() + text.size(), value).ptr};
}

// The double that those digits of an f32 spell: 0.1 for 0.1f.
[[nodiscard]] inline double ExactAsDouble(float value) {
  const std::string text = Exact(value);
  double number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

// "512 B", "1.5 KiB", "23.4 MiB", …, for people.
[[nodiscard]] inline std::string FormatBytes(uint64_t bytes) {
  constexpr std::string_view kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
  std::ostringstream out;
  out << std::fixed << std::setprecision(unit == 0 ? 0 : 1) << value << ' ' << kUnits[unit];
  return std::move(out).str();
}

}  // namespace intaglio
