// What a checkpoint is exported for: the next token of a text, or an embedding of it.
#pragma once
#include <memory>
#include <string>

#include "checkpoint/checkpoint.h"
#include "checkpoint/hf_config.h"
#include "models/decoder.h"

namespace intaglio::compiler {

// `task`: "generate", "embed", or empty: to embed if the checkpoint has sentence-transformers' modules or a model without a head.
// `where`: the checkpoint, for messages. Throws Error kInvalidArgument for another task, or one that the checkpoint is not for.
[[nodiscard]] std::unique_ptr<models::Model> ParseModelFor(const std::string& task, const checkpoint::HfConfig& config,
                                                           const checkpoint::Checkpoint& checkpoint, const std::string& where);

}  // namespace intaglio::compiler
