// What a model's graph fixes before anything runs: rotary tables and which keys a query sees, against a fixture's goldens.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"
#include "intaglio/parity.h"

namespace intaglio::parity {

// True for golden probes that CheckGraph covers: "….cos", "….sin", "….mask".
[[nodiscard]] bool IsGraphProbe(const std::string& golden_name);
[[nodiscard]] std::vector<ParityCheck> CheckGraph(const std::filesystem::path& fixture, const checkpoint::SafetensorsFile& golden);

}  // namespace intaglio::parity
