// What a caller of Engine::Step may ask of one sequence.
#pragma once
#include <cstdint>

#include "base/phase.h"
#include "intaglio/engine.h"

namespace intaglio::runtime {

// Throws Error kInvalidArgument: tokens outside the vocabulary or past the context, more rows than the phase takes of one sequence,
// sampling parameters without meaning. `length`: tokens in the slot before the step.
void CheckSequence(const StepSequence& sequence, int32_t length, Phase phase, const ModelInfo& info);

}  // namespace intaglio::runtime
