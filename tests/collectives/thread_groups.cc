// Groups whose ranks are threads, of 1 to 8 ranks.
#include "collectives/thread_group.h"
#include "tests/collectives/groups.h"

namespace intaglio::collectives {

std::vector<TestedGroup> TestedGroups() {
  const RunRanks run = [](int size, std::optional<Patience> patience, const auto& body) { ThreadGroup(size, patience).Run(body); };
  std::vector<TestedGroup> groups;
  for (int size = 1; size <= 8; ++size) groups.push_back({"Threads", size, run});
  return groups;
}

}  // namespace intaglio::collectives
