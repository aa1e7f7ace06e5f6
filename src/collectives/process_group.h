// Ranks that are processes, one each, started by a launcher such as mpirun. MPI itself is in a plugin (mpi/plugin.cc), which is loaded only
// where a launcher has started this process: nothing else has to have it, or to wait for it.
#pragma once
#include <functional>
#include <memory>
#include <optional>

#include "collectives/collectives.h"
#include "collectives/rendezvous.h"

namespace intaglio::collectives {

class ProcessGroup {
 public:
  // This process's place in the group that its launcher has started; null where there is no launcher, or a single rank. Without a patience,
  // ranks wait ten seconds for each other, and spin where each on this host can have a CPU of its own. At most once in a process. Throws Error
  // kUnsupported when the plugin is missing or does not fit, kUnavailable when MPI does not start.
  [[nodiscard]] static std::unique_ptr<ProcessGroup> Join(std::optional<Patience> patience = std::nullopt);

  // Whoever has not left before ends the group for all: so does a rank that unwinds by an error. After a failure the process must end
  // by a status that is not 0: the launcher then ends those that hang.
  virtual ~ProcessGroup() = default;
  ProcessGroup(const ProcessGroup&) = delete;
  ProcessGroup& operator=(const ProcessGroup&) = delete;

  virtual Collectives& collectives() noexcept = 0;

  // Runs `body`; what it throws ends the group. Throws the group's Error on every rank.
  void Run(const std::function<void(Collectives&)>& body);

  // Meets all others, who leave as well, and shuts MPI down: nothing may be called any more. Throws the group's Error if there is one.
  virtual void Leave() = 0;

  // Whether this rank is the one to tell people about things, so that they hear of them once: rank 0; after a failure that rank 0
  // does not know of, the lowest one that does.
  [[nodiscard]] virtual bool is_speaker() const noexcept = 0;

 protected:
  ProcessGroup() = default;
};

// What the plugin is entered by. Another value of `interface` than its own makes it return null.
inline constexpr int kPluginInterface = 1;
inline constexpr const char* kPluginFile = "libintaglio_mpi.so";
inline constexpr const char* kPluginEntry = "IntaglioJoinMpi";
using PluginEntry = ProcessGroup* (*)(int interface, const Patience* patience);

}  // namespace intaglio::collectives
