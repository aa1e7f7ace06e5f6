// A checkpoint in one .gguf file, presented under Hugging Face's names, values and files.
#pragma once
#include <memory>

#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf.h"

namespace intaglio::checkpoint {

// Throws Error, as Checkpoint::Open.
[[nodiscard]] std::unique_ptr<Checkpoint> OpenGguf(GgufFile file);

}  // namespace intaglio::checkpoint
