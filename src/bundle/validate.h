// What must hold between a bundle's manifest, plans and files before anything is computed with it.
#pragma once
#include "bundle/bundle.h"

namespace intaglio::bundle {

// Throws Error kDataLoss: every operand and weight lies inside its space, operands are as large as their shapes say, offsets are aligned, KV layers
// tile the pool, every bucket has its plan. What only kernels can judge (packed sizes, parameters) is checked where calls are resolved.
void Validate(const Bundle& bundle);

}  // namespace intaglio::bundle
