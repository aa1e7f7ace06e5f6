// Tokenisations and chat texts of a fixture against its goldens; all exact.
#pragma once
#include <filesystem>
#include <vector>

#include "intaglio/parity.h"
#include "parity/golden.h"

namespace intaglio::parity {

// Two checks, "tokenizer" and "chat", each where the fixture has such goldens; `worst` is the number of mismatches.
[[nodiscard]] std::vector<ParityCheck> CheckTexts(const std::filesystem::path& fixture, const Golden& golden);

}  // namespace intaglio::parity
