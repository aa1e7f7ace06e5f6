#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "intaglio/parity.h"

namespace intaglio::test {
namespace {

using Json = nlohmann::json;

ParityCheck Check(const std::string& name, double worst, double tolerance) {
  return {.name = name, .worst = worst, .tolerance = tolerance, .where = "[0, 1]", .is_ok = worst <= tolerance};
}

ParityReport Report() {
  ParityReport report;
  report.fixture = "tiny", report.dtype = "f32", report.isa = "scalar", report.capture_digest = "00ff";
  report.checks = {Check("chat", 0, 0),          Check("p1.hidden.layer0", 1, 8), Check("p1.hidden.embed", 2, 8), Check("p1.layer0.attn_out", 4, 8),
                   Check("p0.greedy_ids", 0, 0), Check("logits, top 5", 1, 4)};
  report.bands = {{.top = 5, .worst = 1, .mean = 0.5, .where = "p0[0, 1]"}, {.top = 0, .worst = 2, .mean = 0.25, .where = "p0[0, 2]"}};
  report.divergence = {.mean = 0.125, .worst = 0.5, .where = "p0[0]"};
  report.drift = {{.name = "embed", .error = 0}, {.name = "layer0", .error = 1e-6}, {.name = "layer1", .error = 1e-4}};
  return report;
}

TEST(Summarise, KeepsTheMostStrainedCheckOfEachKind) {
  ParityReport report = Report();
  report.checks.push_back(Check("p1.layer3.attn_out", 9, 8));
  const ParityGate gate = Summarise(report);
  EXPECT_FALSE(gate.is_ok);
  std::vector<std::string> kinds;
  for (const GateCheck& check : gate.checks) kinds.push_back(check.kind);
  EXPECT_EQ(kinds, (std::vector<std::string>{"chat", "hidden", "attn_out", "greedy_ids", "logits, top 5"}));
  EXPECT_EQ(gate.checks[1].count, 2);
  EXPECT_EQ(gate.checks[1].worst, 2);
  EXPECT_EQ(gate.checks[2].worst, 9);
  EXPECT_FALSE(gate.checks[2].is_ok);
  EXPECT_EQ(gate.divergence_worst, 0.5);
  EXPECT_EQ(gate.first_divergence, -1);
}

TEST(Summarise, AReportWithoutChecksFails) {
  EXPECT_FALSE(Summarise(ParityReport()).is_ok);
  ParityReport report = Report();
  EXPECT_TRUE(Summarise(report).is_ok);
  report.error = "could not be exported";
  EXPECT_FALSE(Summarise(report).is_ok);
}

TEST(ToMarkdown, OneLineACheckAndTheFiguresBelow) {
  const ParityReport report = Report();
  const std::string text = ToMarkdown({&report, 1}, /*only_summary=*/false);
  EXPECT_EQ(std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(text.find("\n\n")), '\n'), 7);  // head, rule and checks but the last's end
  for (const char* part : {"top 5 mean 0.5, worst 1; all mean 0.25, worst 2", "mean 0.125, worst 0.5 nats", "greedy tokens: none", "layer1 0.0001"})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
}

TEST(ToMarkdown, ASummaryIsOneLineAReportAndSurvivesErrorsOfSeveralLines) {
  ParityReport failed;
  failed.fixture = "broken", failed.error = "no kernel | for\nthis";
  const std::vector<ParityReport> reports{Report(), failed};
  const std::string text = ToMarkdown(reports, /*only_summary=*/true);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4);
  EXPECT_NE(text.find("6 of 6, worst p1.layer0.attn_out"), std::string::npos) << text;
  EXPECT_NE(text.find("no kernel \\| for  this"), std::string::npos) << text;
}

TEST(ToJson, HasChecksAndFiguresAndInfinityIsNull) {
  ParityReport report = Report();
  report.checks.front().worst = INFINITY;
  report.first_divergence = 12;
  const Json json = Json::parse(ToJson({&report, 1})).front();
  EXPECT_EQ(json["checks"].size(), 6u);
  EXPECT_TRUE(json["checks"][0]["worst"].is_null());
  EXPECT_EQ(json["logits"][0]["top"], 5);
  EXPECT_EQ(json["logits"][1]["top"], "all");
  EXPECT_EQ(json["kl"]["worst"], 0.5);
  EXPECT_EQ(json["first_divergence"], 12);
  EXPECT_EQ(json["drift"][2]["name"], "layer1");
  EXPECT_EQ(json["capture_digest"], "00ff");
}

TEST(DriftPlot, DrawsOneLineAReportAndNothingOutsideThePicture) {
  ParityReport other = Report(), without = Report();
  other.fixture = "a<b&c";
  other.drift[1].error = INFINITY;
  without.drift.clear();
  const std::vector<ParityReport> reports{Report(), other, without};
  const std::string svg = DriftPlot(reports);
  size_t lines = 0;
  for (size_t at = 0; (at = svg.find("<polyline", at)) != std::string::npos; ++at) ++lines;
  EXPECT_EQ(lines, 2u);
  EXPECT_NE(svg.find("a&lt;b&amp;c"), std::string::npos);
  EXPECT_EQ(svg.find("nan"), std::string::npos) << svg;
  EXPECT_EQ(svg.find("inf"), std::string::npos) << svg;
  EXPECT_NE(svg.find("layer1</text>"), std::string::npos);
  EXPECT_EQ(svg, DriftPlot(reports));
}

TEST(DriftPlot, OfNothingIsAnEmptyPicture) { EXPECT_NE(DriftPlot({}).find("</svg>"), std::string::npos); }

}  // namespace
}  // namespace intaglio::test
