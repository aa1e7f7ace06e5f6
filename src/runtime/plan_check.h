// What must hold between a plan and its manifest so that no step can read or write past an operand. Bundle::Open has checked that operands
// lie in their spaces, Kernel::check that the operands of one call fit each other; here are the numbers that a step brings: rows, token
// ids, positions and KV blocks.
#pragma once
#include <span>

#include "bundle/manifest.h"
#include "bundle/plan.h"

namespace intaglio::runtime {

// Throws Error kDataLoss naming the number that is wrong: of the shapes in a manifest, before anything is sized by them.
void CheckManifest(const bundle::Manifest& manifest);
// Throws Error kDataLoss naming the phase, the call's label and what is wrong.
void CheckPlans(std::span<const bundle::Plan> plans, const bundle::Manifest& manifest);

}  // namespace intaglio::runtime
