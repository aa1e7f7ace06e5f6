// What the ranks of a model must have in common before they compute together.
#pragma once
#include "bundle/bundle.h"
#include "collectives/collectives.h"

namespace intaglio::runtime {

// All ranks call it. Throws the group's Error, of code kUnavailable, where one has another bundle, or another place in the
// bundle than in the group; the message names the ranks and what they have.
void Agree(const bundle::Bundle& bundle, collectives::Collectives& group);

}  // namespace intaglio::runtime
