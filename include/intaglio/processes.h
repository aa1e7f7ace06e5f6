// The processes that a launcher (mpirun) started together, to be the ranks of one model. Rank 0 does what the user asked for; the others do
// what it says.
#pragma once
#include <functional>
#include <memory>

#include "intaglio/error.h"

namespace intaglio {

class Processes {
 public:
  // Finds the others. Null when this process was started alone. Once a process; Engine::Load then runs bundles on all of them. Throws Error
  // kUnsupported when this build cannot talk to the launcher's processes, kUnavailable when they cannot be reached.
  // Rank 0 may be waiting for its user when the group fails. Then `on_failure` is called, on a thread of its own, and should end the process.
  [[nodiscard]] static std::unique_ptr<Processes> Join(std::function<void(const Error& error)> on_failure);
  // Whether this process is the first, or only, one that the launcher started on this host: who tells people why Join failed.
  [[nodiscard]] static bool IsFirstOfHost() noexcept;
  virtual ~Processes() = default;   // of rank 0: leaves, if it has not, whatever comes of it

  [[nodiscard]] virtual int rank() const noexcept = 0;
  [[nodiscard]] virtual int size() const noexcept = 0;
  // Whether this rank is the one to tell people of an error, so that they hear of it once: rank 0, or another that knows more.
  [[nodiscard]] virtual bool is_speaker() const noexcept = 0;
  // On ranks other than 0: opens the bundles that rank 0 opens and computes its part of every step, until rank 0 lets go. Throws Error of
  // this rank or, kUnavailable and the like, of another: then all ranks end.
  virtual void Follow() = 0;
  // On rank 0, whose engines are gone: lets the others go. Throws Error where the group has failed.
  virtual void Leave() = 0;
};

}  // namespace intaglio
