// Ranks that are threads of one process. They copy and sum straight out of each other's buffers, between two meetings (rendezvous.h); what
// is small is staged, which saves the second meeting. Nothing is allocated after the start.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "collectives/collectives.h"
#include "collectives/rendezvous.h"

namespace intaglio::collectives {

class ThreadGroup {
 public:
  // Without a patience, ranks wait ten seconds for each other, and spin where each can have a CPU of its own.
  // Throws Error kInvalidArgument for a size that is not 1 to 64.
  explicit ThreadGroup(int size, std::optional<Patience> patience = std::nullopt);
  ~ThreadGroup();
  ThreadGroup(const ThreadGroup&) = delete;
  ThreadGroup& operator=(const ThreadGroup&) = delete;

  [[nodiscard]] Collectives& rank(int rank) noexcept;

  // Runs `body` once for each rank, rank 0 on the caller's thread, and returns when all are done. What one of them throws ends the group,
  // and is thrown here as the group's Error. A group that has failed stays so.
  void Run(const std::function<void(Collectives&)>& body);

 private:
  struct Shared;
  class Rank;
  std::unique_ptr<Shared> shared_;
  std::vector<Rank> ranks_;
};

}  // namespace intaglio::collectives
