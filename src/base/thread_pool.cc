#include "base/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/fail.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace intaglio {
namespace {

constexpr int kMaxThreads = 1024;
// About 30 microseconds: longer than the gap between two kernels of a step, shorter than anybody would notice in CPU use.
constexpr int kSpins = 2000;

void Pause() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

std::vector<int> AllowedCpus() {
  cpu_set_t set;
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

// One allowed CPU of every physical core: hyper-threads share the FMA units, so a second one only adds contention.
std::vector<int> OnePerCore(const std::vector<int>& cpus) {
  std::vector<int> chosen;
  std::set<std::string> seen;
  for (int cpu : cpus) {
    std::ifstream file(StrCat("/sys/devices/system/cpu/cpu", cpu, "/topology/thread_siblings_list"));
    std::string siblings;
    if (!std::getline(file, siblings)) siblings = StrCat("cpu", cpu);
    if (seen.insert(siblings).second) chosen.push_back(cpu);
  }
  return chosen;
}

// CPUs' worth of time that a container may use: cgroup v2, then v1. 0: no limit.
int CgroupLimit() {
  std::ifstream v2("/sys/fs/cgroup/cpu.max");
  std::string quota_text;
  double quota = -1, period = 0;
  if (v2 >> quota_text >> period && quota_text != "max") quota = std::atof(quota_text.c_str());
  if (quota <= 0) {
    std::ifstream quota_file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), period_file("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
    if (!(quota_file >> quota) || !(period_file >> period)) quota = -1;
  }
  return quota > 0 && period > 0 ? std::max(1, static_cast<int>(quota / period)) : 0;
}

int DefaultThreads(size_t num_cores) {
  const int cores = std::max(1, static_cast<int>(num_cores)), limit = CgroupLimit();
  return limit == 0 ? cores : std::min(cores, limit);
}

void PinThisThread(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  pthread_setaffinity_np(pthread_self(), sizeof set, &set);  // best effort: an unpinned worker computes the same
}

}  // namespace

// A round is one ParallelFor. Workers wait for the round number to change, take tasks until none is left, and check out; the caller does
// the same and returns when all have checked out.
struct ThreadPool::Impl {
  // What the workers of a round share, each on a cache line of its own.
  alignas(64) std::atomic<uint32_t> round = 0;
  alignas(64) std::atomic<int64_t> next_task = 0;
  alignas(64) std::atomic<int32_t> num_working = 0;   // workers that have not checked out of the round
  alignas(64) Body body = nullptr;                    // written before `round` is bumped
  void* context = nullptr;
  int64_t num_tasks = 0;
  bool is_stopping = false;
  int num_threads = 1;
  std::vector<std::jthread> threads;

  void WorkOn(int worker) noexcept {
    for (int64_t task; (task = next_task.fetch_add(1, std::memory_order_relaxed)) < num_tasks;) body(context, task, worker);
  }

  void Loop(int worker) noexcept {
    uint32_t seen = 0;
    for (;;) {
      WaitWhileEqual(round, seen);
      ++seen;
      if (is_stopping) return;
      WorkOn(worker);
      if (num_working.fetch_sub(1, std::memory_order_acq_rel) == 1) num_working.notify_one();
    }
  }

  template <typename T>
  static void WaitWhileEqual(std::atomic<T>& value, T old) noexcept {
    for (int i = 0; i < kSpins; ++i) {
      if (value.load(std::memory_order_acquire) != old) return;
      Pause();
    }
    value.wait(old, std::memory_order_acquire);
  }

  void Start() noexcept {
    round.fetch_add(1, std::memory_order_acq_rel);
    round.notify_all();
  }
};

ThreadPool::ThreadPool(int num_threads) : impl_(std::make_unique<Impl>()) {
  Require(num_threads >= 0 && num_threads <= kMaxThreads, ErrorCode::kInvalidArgument, "threads: ", num_threads, " is not within 0 to ", kMaxThreads);
  const std::vector<int> cpus = OnePerCore(AllowedCpus());
  impl_->num_threads = num_threads == 0 ? DefaultThreads(cpus.size()) : num_threads;
  const bool is_pinned = impl_->num_threads <= static_cast<int>(cpus.size());
  for (int worker = 1; worker < impl_->num_threads; ++worker) {
    // The caller is not pinned; it usually starts on the first CPU, so workers take the others.
    const int cpu = is_pinned ? cpus[static_cast<size_t>(worker)] : -1;
    impl_->threads.emplace_back([impl = impl_.get(), worker, cpu] {
      if (cpu >= 0) PinThisThread(cpu);
      impl->Loop(worker);
    });
  }
}

ThreadPool::~ThreadPool() {
  impl_->is_stopping = true;
  impl_->Start();
}

int ThreadPool::num_threads() const noexcept { return impl_->num_threads; }

void ThreadPool::ParallelFor(int64_t num_tasks, Body body, void* context) noexcept {
  Impl& impl = *impl_;
  if (num_tasks <= 1 || impl.num_threads == 1) {
    for (int64_t task = 0; task < num_tasks; ++task) body(context, task, 0);
    return;
  }
  impl.body = body;
  impl.context = context;
  impl.num_tasks = num_tasks;
  impl.next_task.store(0, std::memory_order_relaxed);
  impl.num_working.store(impl.num_threads - 1, std::memory_order_relaxed);
  impl.Start();
  impl.WorkOn(0);
  for (int32_t working; (working = impl.num_working.load(std::memory_order_acquire)) != 0;) Impl::WaitWhileEqual(impl.num_working, working);
}

}  // namespace intaglio
