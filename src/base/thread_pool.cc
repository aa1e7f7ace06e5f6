#include "base/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "base/cpus.h"
#include "base/fail.h"
#include "base/spin.h"

namespace intaglio {
namespace {

constexpr int kMaxThreads = 1024;

// Starts with the CPU the caller is on, which is not pinned: the workers then get the others.
std::vector<int> OthersAfterCurrent(std::vector<int> cpus) {
  const auto current = std::find(cpus.begin(), cpus.end(), sched_getcpu());
  if (current != cpus.end()) std::rotate(cpus.begin(), current, cpus.end());
  return cpus;
}

// A worker that cannot be pinned (a sandbox may forbid it) works all the same.
void Pin(std::thread& thread, int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<size_t>(cpu), &set);
  pthread_setaffinity_np(thread.native_handle(), sizeof set, &set);
}

}  // namespace

// A job is published by setting `unclaimed` to its number of tasks, and a task is claimed by counting it down: a claim proves that the job
// is not over, so its fields may be read. Workers that wake late find nothing to claim and touch nothing. `generation` is only for sleeping.
struct ThreadPool::Impl {
  alignas(64) std::atomic<int64_t> unclaimed{0};
  alignas(64) std::atomic<int64_t> unfinished{0};
  alignas(64) std::atomic<uint32_t> generation{0};
  std::atomic<bool> is_stopping{false};
  int64_t num_tasks = 0;
  Body body = nullptr;
  void* context = nullptr;
  std::chrono::microseconds spin_time = kSpinTime;
  std::vector<std::thread> workers;

  // Runs tasks until none is left to claim; returns how many.
  int64_t Work(int worker) noexcept {
    int64_t count = 0;
    while (unclaimed.load(std::memory_order_relaxed) > 0) {
      const int64_t left = unclaimed.fetch_sub(1, std::memory_order_acquire);
      if (left <= 0) break;
      body(context, num_tasks - left, worker);
      ++count;
    }
    return count;
  }

  void Finished(int64_t count) noexcept {
    if (count > 0 && unfinished.fetch_sub(count, std::memory_order_acq_rel) == count) unfinished.notify_one();
  }

  void WorkerLoop(int worker) noexcept {
    while (true) {
      const uint32_t seen = generation.load(std::memory_order_acquire);
      if (is_stopping.load(std::memory_order_relaxed)) return;
      Finished(Work(worker));
      const auto has_news = [&] { return generation.load(std::memory_order_relaxed) != seen; };
      if (!SpinUntil(spin_time, has_news)) generation.wait(seen, std::memory_order_relaxed);
    }
  }

  void WakeAll() noexcept {
    generation.fetch_add(1, std::memory_order_seq_cst);
    generation.notify_all();   // no system call unless somebody sleeps
  }

  ~Impl() {
    is_stopping.store(true, std::memory_order_relaxed);
    WakeAll();
    for (std::thread& worker : workers) worker.join();
  }
};

ThreadPool::ThreadPool(int num_threads, Workers workers) {
  Require(num_threads >= 0 && num_threads <= kMaxThreads, ErrorCode::kInvalidArgument, "cannot compute with ", num_threads, " threads; use 1 to ",
          kMaxThreads, ", or 0 for one per core");
  const std::vector<int> cpus = OthersAfterCurrent(UsableCpus());
  const size_t count = num_threads == 0 ? cpus.size() : static_cast<size_t>(num_threads);
  const bool fits = count <= cpus.size();
  impl_ = std::make_unique<Impl>();
  if (!fits || workers == Workers::kSharing) impl_->spin_time = {};   // a spinning thread would keep a working one off its CPU
  for (size_t i = 1; i < count; ++i) {
    std::thread& worker = impl_->workers.emplace_back([impl = impl_.get(), i] { impl->WorkerLoop(static_cast<int>(i)); });
    if (fits && workers == Workers::kPinned) Pin(worker, cpus[i]);
  }
}

ThreadPool::~ThreadPool() = default;

int ThreadPool::num_threads() const noexcept { return static_cast<int>(impl_->workers.size()) + 1; }

void ThreadPool::ParallelFor(int64_t num_tasks, Body body, void* context) noexcept {
  if (num_tasks <= 1 || impl_->workers.empty()) {
    for (int64_t task = 0; task < num_tasks; ++task) body(context, task, 0);
    return;
  }
  impl_->num_tasks = num_tasks;
  impl_->body = body;
  impl_->context = context;
  impl_->unfinished.store(num_tasks, std::memory_order_relaxed);
  impl_->unclaimed.store(num_tasks, std::memory_order_release);
  impl_->WakeAll();
  impl_->Finished(impl_->Work(/*worker=*/0));
  while (true) {
    const auto is_done = [this] { return impl_->unfinished.load(std::memory_order_acquire) == 0; };
    if (SpinUntil(impl_->spin_time, is_done)) return;
    const int64_t left = impl_->unfinished.load(std::memory_order_acquire);
    if (left == 0) return;
    impl_->unfinished.wait(left, std::memory_order_acquire);
  }
}

}  // namespace intaglio
