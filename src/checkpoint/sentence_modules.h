// The files that sentence-transformers puts beside a checkpoint: modules.json, and a folder for each module that has a config or weights.
#pragma once
#include <filesystem>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace intaglio::checkpoint {

// In the order of modules.json; none if there is no such file. Throws Error kDataLoss naming the file and what is wrong.
[[nodiscard]] std::vector<SentenceModule> ReadSentenceModules(const std::filesystem::path& directory);

}  // namespace intaglio::checkpoint
