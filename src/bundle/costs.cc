#include "bundle/costs.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/mapped_file.h"
#include "base/output_file.h"
#include "base/phase.h"
#include "bundle/bundle.h"
#include "bundle/json_fields.h"

namespace intaglio {
namespace bundle {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kVersion = 1;
constexpr std::array kKinds{StepKind::kContextEncoding, StepKind::kTokenGeneration, StepKind::kSpeculation};   // as kPhases has them

Json ToJsonObject(const StepCost& cost) {
  return {{"phase", Name(cost.kind)}, {"sequences", cost.sequences}, {"rows", cost.rows}, {"depth", cost.depth},
          {"seconds", cost.seconds},  {"least", cost.least},         {"most", cost.most}};
}

Json ToJsonObject(const CostTable& table) {
  Json steps = Json::array();
  for (const StepCost& cost : table.steps) steps.push_back(ToJsonObject(cost));
  return {{"cpu", table.cpu}, {"isa", table.isa}, {"threads", table.threads}, {"steps", steps}};
}

void ReadSeconds(const Fields& in, const char* key, double& out) {
  in.Real(key, out);
  Require(std::isfinite(out) && out >= 0, ErrorCode::kDataLoss, in.path(), ": \"", key, "\" is no time");
}

void Read(const Fields& in, StepCost& cost) {
  std::string phase;
  in.String("phase", phase);
  const auto kind = std::ranges::find_if(kKinds, [&](StepKind k) { return Name(k) == phase; });
  Require(kind != kKinds.end(), ErrorCode::kDataLoss, in.path(), ": there is no phase \"", phase, '"');
  cost.kind = *kind;
  in.Number("sequences", cost.sequences, 1);
  in.Number("rows", cost.rows, 1);
  in.Number("depth", cost.depth);
  ReadSeconds(in, "seconds", cost.seconds);
  ReadSeconds(in, "least", cost.least);
  ReadSeconds(in, "most", cost.most);
}

void Read(const Fields& in, CostTable& table) {
  in.String("cpu", table.cpu);
  in.String("isa", table.isa);
  in.Number("threads", table.threads, 1);
  in.ForEach("steps", [&](const Fields& item) { Read(item, table.steps.emplace_back()); });
}

bool IsOfSameMachine(const CostTable& a, const CostTable& b) { return a.cpu == b.cpu && a.isa == b.isa && a.threads == b.threads; }

}  // namespace

std::string ToJson(const std::vector<CostTable>& tables) {
  Json list = Json::array();
  for (const CostTable& table : tables) list.push_back(ToJsonObject(table));
  return Json{{"version", kVersion}, {"tables", list}}.dump(1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n";
}

std::vector<CostTable> CostsFromJson(std::string_view text, const std::string& where) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  Require(!json.is_discarded(), ErrorCode::kDataLoss, where, ": not JSON: remove it, and measure again with intaglio bench --all --store");
  const Fields in(json, where);
  int version = 0;
  in.Number("version", version, 1);
  Require(version == kVersion, ErrorCode::kUnsupported, where, ": cost tables of version ", version, "; this Intaglio reads ", kVersion,
          ": remove the file, and measure again with intaglio bench --all --store");
  std::vector<CostTable> tables;
  in.ForEach("tables", [&](const Fields& item) { Read(item, tables.emplace_back()); });
  return tables;
}

std::optional<CostTable> FindCosts(const std::filesystem::path& path, std::string_view cpu, std::string_view isa, int32_t threads) {
  const CostTable wanted{.cpu = std::string(cpu), .isa = std::string(isa), .threads = threads, .steps = {}};
  for (CostTable& table : ReadCosts(path)) {
    if (IsOfSameMachine(table, wanted)) return std::move(table);
  }
  return std::nullopt;
}

}  // namespace bundle

std::string_view Name(StepKind kind) { return Name(kPhases[static_cast<size_t>(kind)]); }

std::vector<CostTable> ReadCosts(const std::filesystem::path& path) {
  const std::filesystem::path file = path / bundle::kCostsFile;
  std::error_code ignored;   // what cannot be looked at counts as absent
  if (!std::filesystem::exists(file, ignored)) return {};
  const MappedFile mapped(file);
  return bundle::CostsFromJson({reinterpret_cast<const char*>(mapped.bytes().data()), mapped.bytes().size()}, file.string());
}

void StoreCosts(const std::filesystem::path& path, const CostTable& table) {
  std::error_code ignored;
  Require(std::filesystem::exists(path / bundle::kManifestFile, ignored), ErrorCode::kNotFound, path.string(),
          ": no bundle to store a cost table in");
  std::vector<CostTable> tables = ReadCosts(path);
  std::erase_if(tables, [&](const CostTable& old) { return bundle::IsOfSameMachine(old, table); });
  tables.push_back(table);
  OutputFile file(path / bundle::kCostsFile);
  file.Write(bundle::ToJson(tables));
  file.Commit();
}

}  // namespace intaglio
