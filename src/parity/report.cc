// Parity reports as a Markdown table and as JSON.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/strings.h"
#include "intaglio/parity.h"

namespace intaglio {
namespace {

std::string Number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

// How much of its tolerance a check used; a miss of an exact check is infinite.
double Strain(const ParityCheck& check) {
  if (check.tolerance > 0) return check.worst / check.tolerance;
  return check.is_ok ? 0.0 : INFINITY;
}

std::string Row(const ParityReport& report, const std::string& name, const ParityCheck& check) {
  return StrCat("| ", report.fixture, " | ", report.dtype, " | ", report.isa, " | ", name, " | ", Number(check.worst), " | ",
                Number(check.tolerance), " | ", check.is_ok ? "ok" : "**miss**", " | ", check.where, " |\n");
}

std::string SummaryRow(const ParityReport& report) {
  const auto worst = std::max_element(report.checks.begin(), report.checks.end(),
                                      [](const ParityCheck& a, const ParityCheck& b) { return Strain(a) < Strain(b); });
  const auto num_ok = std::count_if(report.checks.begin(), report.checks.end(), [](const ParityCheck& check) { return check.is_ok; });
  return Row(report, StrCat(num_ok, " of ", report.checks.size(), ", worst ", worst->name), *worst);
}

}  // namespace

bool ParityReport::is_ok() const {
  return error.empty() && !checks.empty() && std::all_of(checks.begin(), checks.end(), [](const ParityCheck& check) { return check.is_ok; });
}

std::string ToMarkdown(std::span<const ParityReport> reports, bool only_summary) {
  std::string out = "| fixture | weights | isa | check | worst | allowed | | where |\n|---|---|---|---|---|---|---|---|\n";
  for (const ParityReport& report : reports) {
    if (!report.error.empty() || report.checks.empty()) {
      out += StrCat("| ", report.fixture, " | ", report.dtype, " | ", report.isa, " | not run | | | **miss** | ", report.error, " |\n");
    } else if (only_summary) {
      out += SummaryRow(report);
    } else {
      for (const ParityCheck& check : report.checks) out += Row(report, check.name, check);
    }
  }
  return out;
}

std::string ToJson(std::span<const ParityReport> reports) {
  auto json = nlohmann::ordered_json::array();
  for (const ParityReport& report : reports) {
    nlohmann::ordered_json entry{{"fixture", report.fixture}, {"architecture", report.architecture}, {"dtype", report.dtype},
                                 {"isa", report.isa},         {"ok", report.is_ok()},               {"checks", nlohmann::ordered_json::array()}};
    if (!report.error.empty()) entry["error"] = report.error;
    for (const ParityCheck& check : report.checks) {
      entry["checks"].push_back({{"name", check.name}, {"worst", check.worst}, {"tolerance", check.tolerance}, {"ok", check.is_ok}, {"where", check.where}});
    }
    json.push_back(std::move(entry));
  }
  return json.dump(2) + "\n";
}

}  // namespace intaglio
