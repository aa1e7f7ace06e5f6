// Fork-join over a fixed set of pinned threads. The calling thread is worker 0 and works too.
// Tasks are handed out one by one from a shared counter, so unequal cores cost little; which worker ran a task must never
// change a result. Idle workers spin briefly, then sleep on a futex: an idle pool uses no CPU.
#pragma once
#include <cstdint>
#include <memory>

namespace intaglio {

class ThreadPool {
 public:
  // `num_threads` workers including the caller; 0 means one per physical core that this process may run on
  // (affinity and cgroup limits respected). Throws Error kInvalidArgument for a negative or absurd number.
  explicit ThreadPool(int num_threads);
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
