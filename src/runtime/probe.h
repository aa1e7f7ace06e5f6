// Reading a named intermediate value of the last step.
#pragma once
#include <optional>

#include "bundle/plan.h"
#include "intaglio/engine.h"
#include "kernels/kernel.h"
#include "runtime/device.h"

namespace intaglio::runtime {

// The live rows of `operand` as dense f32 [rows, cols] (integers converted); nullopt for a value that does not lie in the arena.
[[nodiscard]] std::optional<Engine::ProbeValue> ReadProbe(const Device& device, const bundle::Plan& plan, const bundle::Operand& operand,
                                                          const kernels::StepView& view);

}  // namespace intaglio::runtime
