// What takes some ranks of a group longer than the others would wait for them.
#pragma once
#include <functional>
#include <stop_token>

#include "collectives/collectives.h"

namespace intaglio::runtime {

// All ranks call it. Runs `load` on a thread of its own, which inherits the caller's CPUs, while all ranks ask each other whether they are done;
// returns when all are. Throws what `load` throws, or the group's Error: then `load` is asked to stop, and has ended.
void LoadTogether(collectives::Collectives& group, const std::function<void(const std::stop_token&)>& load);

}  // namespace intaglio::runtime
