// What intaglio bench does with --all: the cost of a step of every graph, at several depths.
#pragma once
#include <filesystem>

#include "intaglio/costs.h"

namespace intaglio::cli {

struct StepsBench {
  std::filesystem::path bundle;
  EngineOptions engine{};
  CostOptions costs{};
  bool is_stored = false, is_json = false;
};

// Prints the cost table. Returns the exit code.
[[nodiscard]] int RunStepsBench(StepsBench bench);

}  // namespace intaglio::cli
