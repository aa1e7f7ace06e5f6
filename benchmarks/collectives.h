// Times all-reduce and all-gather of one group, on every rank of it, in turns with copying as many bytes, which is the least that any of
// them could take. Rank 0 prints a table.
#pragma once
#include <functional>
#include <span>
#include <string>

#include "collectives/collectives.h"

namespace intaglio::benchmarks {

// `theirs` adds up floats over the ranks by somebody else's code; it may be empty.
void TimeCollectives(collectives::Collectives& group, const std::string& name, const std::function<void(std::span<float>)>& theirs);

}  // namespace intaglio::benchmarks
