// DriftPlot: relative error of the residual stream by layer, as an SVG of lines on a logarithmic scale.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "base/strings.h"
#include "intaglio/parity.h"

namespace intaglio {
namespace {

constexpr double kLeft = 70, kTop = 20, kWidth = 640, kHeight = 320, kLegendLine = 18, kBelow = 60;   // pixels
constexpr double kNoError = 1e-9;   // drawn for an error of zero: below what f32 can tell
constexpr std::array<const char*, 6> kColours{"#1f6f8b", "#c1440e", "#5b8c3a", "#7a4fa3", "#b8860b", "#444444"};

std::string Fixed(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

std::string Escaped(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '<' || c == '>' || c == '&') {
      out += c == '<' ? "&lt;" : c == '>' ? "&gt;" : "&amp;";
    } else {
      out += c;
    }
  }
  return out;
}

std::string Label(double x, double y, std::string_view anchor, std::string_view text) {
  return StrCat("<text x=\"", Fixed(x), "\" y=\"", Fixed(y), "\" text-anchor=\"", anchor, "\">", Escaped(text), "</text>\n");
}

std::string Line(double x1, double y1, double x2, double y2) {
  return StrCat("<line x1=\"", Fixed(x1), "\" y1=\"", Fixed(y1), "\" x2=\"", Fixed(x2), "\" y2=\"", Fixed(y2), "\" stroke=\"#ddd\"/>\n");
}

double LogOf(double error) { return std::log10(std::isfinite(error) ? std::max(error, kNoError) : 1.0); }

// The decades and layers that all lines need.
struct Axes {
  int lowest = 0, highest = 0;   // powers of ten
  size_t num_layers = 2;

  [[nodiscard]] double X(size_t layer) const { return kLeft + kWidth * static_cast<double>(layer) / static_cast<double>(num_layers - 1); }
  [[nodiscard]] double Y(double log) const { return kTop + kHeight * (highest - log) / (highest - lowest); }
};

Axes AxesOf(std::span<const ParityReport> reports) {
  double lowest = 0, highest = LogOf(0);
  Axes axes;
  for (const ParityReport& report : reports) {
    axes.num_layers = std::max(axes.num_layers, report.drift.size());
    for (const LayerDrift& layer : report.drift) {
      lowest = std::min(lowest, LogOf(layer.error));
      highest = std::max(highest, LogOf(layer.error));
    }
  }
  axes.lowest = static_cast<int>(std::floor(lowest));
  axes.highest = std::max(axes.lowest + 1, static_cast<int>(std::ceil(highest)));
  return axes;
}

std::string Grid(const Axes& axes, const ParityReport& longest) {
  std::string out;
  for (int decade = axes.lowest; decade <= axes.highest; ++decade) {
    out += Line(kLeft, axes.Y(decade), kLeft + kWidth, axes.Y(decade)) + Label(kLeft - 8, axes.Y(decade) + 4, "end", StrCat("1e", decade));
  }
  const size_t step = (longest.drift.size() + 11) / 12;   // no more labels than there is room for
  for (size_t i = 0; i < longest.drift.size(); i += std::max<size_t>(1, step))
    out += Label(axes.X(i), kTop + kHeight + 18, "middle", longest.drift[i].name);
  return out;
}

}  // namespace

std::string DriftPlot(std::span<const ParityReport> reports) {
  const Axes axes = AxesOf(reports);
  std::string lines, legend;
  const ParityReport* longest = nullptr;
  size_t num_lines = 0;
  for (const ParityReport& report : reports) {
    if (report.drift.empty()) continue;
    if (longest == nullptr || report.drift.size() > longest->drift.size()) longest = &report;
    std::string points;
    for (size_t i = 0; i < report.drift.size(); ++i) points += StrCat(Fixed(axes.X(i)), ',', Fixed(axes.Y(LogOf(report.drift[i].error))), ' ');
    const char* colour = kColours[num_lines % kColours.size()];
    const double y = kTop + kHeight + kBelow + kLegendLine * static_cast<double>(num_lines++);
    lines += StrCat("<polyline fill=\"none\" stroke-width=\"2\" stroke=\"", colour, "\" points=\"", points, "\"/>\n");
    legend += StrCat("<rect width=\"12\" height=\"12\" x=\"", Fixed(kLeft), "\" y=\"", Fixed(y - 11), "\" fill=\"", colour, "\"/>\n");
    legend += Label(kLeft + 20, y, "start", StrCat(report.fixture, ", ", report.dtype, ", ", report.isa));
  }
  const double height = kTop + kHeight + kBelow + kLegendLine * static_cast<double>(num_lines);
  return StrCat("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"760\" height=\"", Fixed(height),
                "\" font-family=\"sans-serif\" font-size=\"12\">\n", "<rect width=\"760\" height=\"", Fixed(height), "\" fill=\"white\"/>\n",
                longest == nullptr ? "" : Grid(axes, *longest),
                Label(kLeft, kTop + kHeight + 38, "start", "relative error of the residual stream after each layer, against the goldens"), lines,
                legend, "</svg>\n");
}

}  // namespace intaglio
