#include "runtime/ranks/sender.h"

#include <utility>

#include "base/spin.h"

namespace intaglio::runtime {

Sender::Sender(collectives::Collectives& group) : group_(group), thread_([this] { Loop(); }) {}

Sender::~Sender() {
  AwaitDone();
  is_over_ = true;
  posted_.fetch_add(1, std::memory_order_release);
  posted_.notify_one();
  thread_.join();
}

void Sender::Post(std::span<float> values, collectives::Wire wire) {
  AwaitDone();
  values_ = values, wire_ = wire;
  posted_.fetch_add(1, std::memory_order_release);
  posted_.notify_one();
}

void Sender::Wait() {
  AwaitDone();
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void Sender::AwaitDone() noexcept {
  const uint32_t wanted = posted_.load(std::memory_order_relaxed);
  const auto is_done = [&] { return done_.load(std::memory_order_acquire) == wanted; };
  while (!SpinUntil(kSpinTime, is_done)) {
    if (const uint32_t done = done_.load(std::memory_order_acquire); done != wanted) done_.wait(done, std::memory_order_acquire);
  }
}

void Sender::Loop() {
  for (uint32_t seen = 0;; ++seen) {
    posted_.wait(seen, std::memory_order_acquire);
    if (is_over_) return;
    try {
      if (!failure_) group_.AllReduce(values_, wire_);   // after a failure nothing more is sent, and Wait says so
    } catch (...) { failure_ = std::current_exception(); }
    done_.fetch_add(1, std::memory_order_release);
    done_.notify_one();
  }
}

}  // namespace intaglio::runtime
