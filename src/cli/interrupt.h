// Ctrl-C (and SIGTERM) as a question that work asks now and then, so that it can stop cleanly. A second signal ends the process at once.
#pragma once
#include <csignal>

namespace intaglio::cli {

// While one lives, signals are noted. One at a time. A blocking read returns when a signal comes.
class InterruptGuard {
 public:
  InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
  ~InterruptGuard();

  [[nodiscard]] bool is_interrupted() const { return signal() != 0; }
  [[nodiscard]] int exit_code() const { return 128 + signal(); }

 private:
  [[nodiscard]] static int signal();
  struct sigaction old_interrupt_{}, old_terminate_{};
};

}  // namespace intaglio::cli
