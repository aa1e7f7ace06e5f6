// An interactive conversation: one line of stdin is one message, the answer streams to stdout.
#pragma once
#include "cli/model.h"

namespace intaglio::cli {

// Until the end of input, or Ctrl-C while waiting for a line (exit code 130); Ctrl-C during an answer ends only the answer. The slot keeps
// the conversation: of each prompt only what is new is computed. `request` holds the sampling parameters and limits.
int RunChat(Model& model, const GenerateRequest& request);

}  // namespace intaglio::cli
