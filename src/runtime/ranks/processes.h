// Whether this process leads others.
#pragma once
#include "collectives/process_group.h"
#include "intaglio/processes.h"
#include "runtime/ranks/conversation.h"

namespace intaglio::runtime {

// Of rank 0 of the processes that have joined (intaglio/processes.h); null where there are none.
[[nodiscard]] Conversation* JoinedConversation() noexcept;

}  // namespace intaglio::runtime
