// Text for people: headings, and below them lines that begin with what they are about.
#pragma once
#include <iomanip>
#include <sstream>
#include <string>
#include <string_view>

namespace intaglio::runtime {

class LabelledText {
 public:
  template <typename... Parts>
  LabelledText& Line(std::string_view label, const Parts&... parts) {
    constexpr int kLabelWidth = 26;
    out_ << "  " << std::left << std::setw(kLabelWidth) << label;
    ((out_ << parts), ...);
    out_ << '\n';
    return *this;
  }
  // After an empty line, unless it is the first.
  LabelledText& Heading(std::string_view heading) {
    out_ << (out_.tellp() > 0 ? "\n" : "") << heading << '\n';
    return *this;
  }
  [[nodiscard]] std::string str() && { return std::move(out_).str(); }

 private:
  std::ostringstream out_;
};

}  // namespace intaglio::runtime
