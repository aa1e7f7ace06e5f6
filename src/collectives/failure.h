// How what a rank throws ends its group, whatever it is.
#pragma once
#include "collectives/collectives.h"

namespace intaglio::collectives {

// Aborts with the exception that is being handled.   REQUIRES: called where one is caught
void AbortByException(Collectives& group) noexcept;

// Runs `body`; what it throws ends the group. Throws the group's Error then, which is the same on every rank.
template <typename Body>
void OrAbort(Collectives& group, const Body& body) {
  try {
    return body();
  } catch (...) { AbortByException(group); }
  group.Barrier();   // throws what all agree on
}

}  // namespace intaglio::collectives
