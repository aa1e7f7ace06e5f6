// Fork-join over a fixed set of threads, pinned unless told otherwise. The calling thread is worker 0 and works too.
// Tasks are handed out one by one from a shared counter, so unequal cores cost little; which worker ran a task must never
// change a result. Idle workers spin briefly, then sleep on a futex: an idle pool uses no CPU.
#pragma once
#include <cstdint>
#include <memory>

namespace intaglio {

class ThreadPool {
 public:
  // How workers live beside the other threads of the machine.
  enum class Workers : uint8_t {
    kPinned,     // each on a CPU of its own among those of the caller, if they suffice
    kFloating,   // on any CPU of the caller; nobody else needs it as urgently
    kSharing,    // on any CPU of the caller, where others compute as well: they never spin
  };
  // `num_threads` workers including the caller; 0 means one per physical core that this process may run on
  // (affinity and cgroup limits respected). Throws Error kInvalidArgument for a negative or absurd number.
  explicit ThreadPool(int num_threads, Workers workers = Workers::kPinned);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  [[nodiscard]] int num_threads() const noexcept;

  // Runs body(context, task, worker) for every task in [0, num_tasks) and returns when all are done. Allocates nothing.
  // One task runs on the caller without waking anybody. Not reentrant; one caller at a time. `body` must not throw.
  using Body = void (*)(void* context, int64_t task, int worker) noexcept;
  void ParallelFor(int64_t num_tasks, Body body, void* context) noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace intaglio
