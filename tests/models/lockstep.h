// Graphs of several ranks, run by interpreters in lockstep, one thread a rank, against the graph of a rank alone.
#pragma once
#include <vector>

#include "graph/interpreter.h"
#include "models/decoder.h"

namespace intaglio::models {

struct Subject {
  const Model& model;
  graph::Interpreter::ReadTensor read;
};

// All tensors that the model's graph declares, with numbers that follow from their names.
[[nodiscard]] graph::Interpreter::ReadTensor InventTensors(const Model& model);

// For every EP degree that `tp_degree` ranks may have, and both ways to bring experts' results together (the default alone, if there are no
// experts): all ranks' graphs are valid and meet in
// the same order, and a few tokens of a prompt and a few after it give what one rank gives. The tolerance is derived in lockstep.cc.
void ExpectRanksAgree(const Subject& subject, int tp_degree);

}  // namespace intaglio::models
