// Parity reports as Markdown and as JSON, and what a manifest keeps of one.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/strings.h"
#include "intaglio/parity.h"

namespace intaglio {
namespace {

using Json = nlohmann::ordered_json;

std::string Number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

// How much of its tolerance a check used; a miss of an exact check is infinite.
double Strain(double worst, double tolerance, bool is_ok) {
  if (tolerance > 0) return worst / tolerance;
  return is_ok ? 0.0 : INFINITY;
}
double Strain(const ParityCheck& check) { return Strain(check.worst, check.tolerance, check.is_ok); }

// What a check is about, whichever prompt and layer: "p1.layer0.attn_out" -> "attn_out", "p1.hidden.layer3" -> "hidden", "p0.greedy_ids" ->
// "greedy_ids".
std::string KindOf(const std::string& name) {
  if (name.find(".hidden.") != std::string::npos) return "hidden";
  const bool has_prompt = name.size() > 1 && name[0] == 'p' && name[1] >= '0' && name[1] <= '9';
  return has_prompt ? name.substr(name.rfind('.') + 1) : name;
}

// Text in a cell of a table.
std::string Cell(std::string text) {
  for (size_t at = 0; (at = text.find_first_of("|\n", at)) != std::string::npos; at += 2) text.replace(at, 1, text[at] == '|' ? "\\|" : "  ");
  return text;
}

std::string Row(const ParityReport& report, const std::string& name, const ParityCheck& check) {
  return StrCat("| ", report.fixture, " | ", report.dtype, " | ", report.isa, " | ", name, " | ", Number(check.worst), " | ", Number(check.tolerance),
                " | ", check.is_ok ? "ok" : "**miss**", " | ", Cell(check.where), " |\n");
}

std::string SummaryRow(const ParityReport& report) {
  const auto worst =
      std::max_element(report.checks.begin(), report.checks.end(), [](const ParityCheck& a, const ParityCheck& b) { return Strain(a) < Strain(b); });
  const auto num_ok = std::count_if(report.checks.begin(), report.checks.end(), [](const ParityCheck& check) { return check.is_ok; });
  return Row(report, StrCat(num_ok, " of ", report.checks.size(), ", worst ", worst->name), *worst);
}

std::string NameOf(const LogitBand& band) { return band.top == 0 ? "all" : StrCat("top ", band.top); }

// What the table of checks does not say.
std::string Figures(const ParityReport& report) {
  if (!report.error.empty() || (report.bands.empty() && report.notes.empty())) return {};
  std::string out = StrCat("\n", report.fixture, ", ", report.dtype, ", ", report.isa, "\n\n");
  if (!report.bands.empty()) {
    out += "- logit errors by the golden's rank of a token:";
    for (const LogitBand& band : report.bands)
      out += StrCat(&band == &report.bands.front() ? " " : "; ", NameOf(band), " mean ", Number(band.mean), ", worst ", Number(band.worst));
    out += StrCat("\n- KL(golden || ours): mean ", Number(report.divergence.mean), ", worst ", Number(report.divergence.worst), " nats\n");
    out +=
        StrCat("- first divergence of greedy tokens: ",
               report.first_divergence < 0 ? std::string("none") : StrCat("token ", report.first_divergence, " of ", report.first_divergence_where));
    out += "\n";
  }
  if (!report.drift.empty()) {
    out += "- relative error of the residual stream:";
    for (const LayerDrift& layer : report.drift) out += StrCat(&layer == &report.drift.front() ? " " : ", ", layer.name, ' ', Number(layer.error));
    out += "\n";
  }
  for (const std::string& note : report.notes) out += StrCat("- note: ", note, "\n");
  return out;
}

Json ToJson(const ParityReport& report) {
  Json entry{
      {"fixture", report.fixture}, {"architecture", report.architecture}, {"dtype", report.dtype}, {"isa", report.isa}, {"ok", report.is_ok()}};
  entry["capture_digest"] = report.capture_digest;
  entry["checks"] = Json::array();
  if (!report.error.empty()) entry["error"] = report.error;
  for (const ParityCheck& check : report.checks) {
    entry["checks"].push_back(
        {{"name", check.name}, {"worst", check.worst}, {"tolerance", check.tolerance}, {"ok", check.is_ok}, {"where", check.where}});
  }
  if (report.bands.empty()) return entry;
  entry["logits"] = Json::array();
  for (const LogitBand& band : report.bands)
    entry["logits"].push_back(
        {{"top", band.top == 0 ? Json("all") : Json(band.top)}, {"mean", band.mean}, {"worst", band.worst}, {"where", band.where}});
  entry["kl"] = {{"mean", report.divergence.mean}, {"worst", report.divergence.worst}, {"where", report.divergence.where}};
  entry["first_divergence"] = report.first_divergence < 0 ? Json(nullptr) : Json(report.first_divergence);
  entry["drift"] = Json::array();
  for (const LayerDrift& layer : report.drift) entry["drift"].push_back({{"name", layer.name}, {"error", layer.error}});
  entry["notes"] = report.notes;
  return entry;
}

}  // namespace

bool ParityReport::is_ok() const {
  return error.empty() && !checks.empty() && std::all_of(checks.begin(), checks.end(), [](const ParityCheck& check) { return check.is_ok; });
}

ParityGate Summarise(const ParityReport& report) {
  ParityGate gate{.is_ok = report.is_ok(),
                  .capture = report.fixture,
                  .capture_digest = report.capture_digest,
                  .isa = report.isa,
                  .divergence_mean = report.divergence.mean,
                  .divergence_worst = report.divergence.worst,
                  .first_divergence = report.first_divergence,
                  .checks = {}};
  for (const ParityCheck& check : report.checks) {
    const std::string kind = KindOf(check.name);
    auto entry = std::find_if(gate.checks.begin(), gate.checks.end(), [&](const GateCheck& other) { return other.kind == kind; });
    if (entry == gate.checks.end()) entry = gate.checks.insert(entry, {.kind = kind, .is_ok = true});
    if (entry->count == 0 || Strain(check) > Strain(entry->worst, entry->tolerance, entry->is_ok)) {
      entry->worst = check.worst;
      entry->tolerance = check.tolerance;
    }
    entry->count += 1;
    entry->is_ok = entry->is_ok && check.is_ok;
  }
  return gate;
}

std::string ToMarkdown(std::span<const ParityReport> reports, bool only_summary) {
  std::string out = "| fixture | weights | isa | check | worst | allowed | | where |\n|---|---|---|---|---|---|---|---|\n";
  for (const ParityReport& report : reports) {
    if (!report.error.empty() || report.checks.empty()) {
      out += StrCat("| ", report.fixture, " | ", report.dtype, " | ", report.isa, " | not run | | | **miss** | ", Cell(report.error), " |\n");
    } else if (only_summary) {
      out += SummaryRow(report);
    } else {
      for (const ParityCheck& check : report.checks) out += Row(report, check.name, check);
    }
  }
  if (only_summary) return out;
  for (const ParityReport& report : reports) out += Figures(report);
  return out;
}

std::string ToJson(std::span<const ParityReport> reports) {
  auto json = Json::array();
  for (const ParityReport& report : reports) json.push_back(ToJson(report));
  return json.dump(2, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n";
}

}  // namespace intaglio
