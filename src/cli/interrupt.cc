#include "cli/interrupt.h"

namespace intaglio::cli {
namespace {

// The one thing a signal handler can reach: it has no other context.
volatile std::sig_atomic_t noted_signal = 0;

void Note(int signal) { noted_signal = signal; }

}  // namespace

InterruptGuard::InterruptGuard() {
  noted_signal = 0;
  struct sigaction action{};
  action.sa_handler = Note;
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // the second one has its default effect; no SA_RESTART: reads return
  sigaction(SIGINT, &action, &old_interrupt_);
  sigaction(SIGTERM, &action, &old_terminate_);
}

InterruptGuard::~InterruptGuard() {
  sigaction(SIGINT, &old_interrupt_, nullptr);
  sigaction(SIGTERM, &old_terminate_, nullptr);
}

int InterruptGuard::signal() { return noted_signal; }

}  // namespace intaglio::cli
