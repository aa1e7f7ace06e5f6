// A checkpoint folder as Hugging Face publishes it: config.json, safetensors (one file, or shards with an index), tokenizer files.
#pragma once
#include <filesystem>
#include <memory>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace intaglio::checkpoint {

// Throws Error, as Checkpoint::Open.
[[nodiscard]] std::unique_ptr<Checkpoint> OpenDirectory(const std::filesystem::path& directory);

// Throws Error, as Checkpoint::FilesOf.
[[nodiscard]] std::vector<std::filesystem::path> FilesOfDirectory(const std::filesystem::path& directory);

}  // namespace intaglio::checkpoint
