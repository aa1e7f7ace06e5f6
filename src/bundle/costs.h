// costs.json: the cost tables of a bundle, one a machine. The file is no part of what was exported: the manifest does not list it.
#pragma once
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "intaglio/costs.h"

namespace intaglio::bundle {

inline constexpr std::string_view kCostsFile = "costs.json";

[[nodiscard]] std::string ToJson(const std::vector<CostTable>& tables);
// Throws Error kDataLoss naming `where` and the field, kUnsupported for a newer version.
[[nodiscard]] std::vector<CostTable> CostsFromJson(std::string_view json, const std::string& where);
// The table of a machine, where the bundle has it. Throws Error as ReadCosts.
[[nodiscard]] std::optional<CostTable> FindCosts(const std::filesystem::path& bundle, std::string_view cpu, std::string_view isa, int32_t threads);

}  // namespace intaglio::bundle
