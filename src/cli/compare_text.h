// What intaglio compare does with --against: two bundles on a text.
#pragma once
#include <filesystem>

#include "intaglio/accuracy.h"

namespace intaglio::cli {

struct TextComparison {
  std::filesystem::path bundle, reference;
  std::filesystem::path text, ids;   // one of them is empty
  AccuracyOptions accuracy{};
  bool is_json = false;
};

// Prints the figures. Returns the exit code.
[[nodiscard]] int RunTextComparison(TextComparison comparison);

}  // namespace intaglio::cli
