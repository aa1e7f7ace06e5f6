#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <thread>
#include <vector>

#include "base/cpus.h"
#include "base/strings.h"
#include "intaglio/error.h"
#include "tests/base/temporary_folder.h"

namespace intaglio {
namespace {

// Counts how often each task ran, and that workers are numbered as promised.
struct Counts {
  explicit Counts(int64_t num_tasks) : runs(static_cast<size_t>(num_tasks)) {}

  static void Run(void* context, int64_t task, int worker) noexcept {
    auto& counts = *static_cast<Counts*>(context);
    counts.runs[static_cast<size_t>(task)].fetch_add(1, std::memory_order_relaxed);
    if (worker < 0 || worker >= counts.num_workers) counts.bad_workers.fetch_add(1, std::memory_order_relaxed);
  }

  std::vector<std::atomic<int>> runs;
  std::atomic<int> bad_workers = 0;
  int num_workers = 0;
};

TEST(ThreadPool, EveryTaskRunsOnceWhateverTheNumberOfThreads) {
  for (int threads = 1; threads <= 8; ++threads) {
    ThreadPool pool(threads);
    ASSERT_EQ(pool.num_threads(), threads);
    for (int64_t num_tasks : {0, 1, 2, 3, 7, 64, 1000}) {
      Counts counts(num_tasks);
      counts.num_workers = threads;
      pool.ParallelFor(num_tasks, Counts::Run, &counts);
      for (const std::atomic<int>& runs : counts.runs) ASSERT_EQ(runs, 1) << threads << " threads, " << num_tasks << " tasks";
      ASSERT_EQ(counts.bad_workers, 0);
    }
  }
}

// Each round reads what the other tasks of the round before wrote: plain memory, so that TSan sees a missing barrier.
TEST(ThreadPool, RoundsSeeTheWritesOfRoundsBefore) {
  constexpr int64_t kTasks = 13;
  struct Rounds {
    std::vector<int64_t> from = std::vector<int64_t>(kTasks, 1), to = std::vector<int64_t>(kTasks, 0);
  };
  for (int threads : {2, 3, 8}) {
    ThreadPool pool(threads);
    Rounds rounds;
    const auto body = [](void* context, int64_t task, int) noexcept {
      auto& r = *static_cast<Rounds*>(context);
      r.to[static_cast<size_t>(task)] = r.from[static_cast<size_t>((task + 1) % kTasks)] + 1;
    };
    for (int i = 0; i < 3000; ++i) {
      pool.ParallelFor(kTasks, body, &rounds);
      std::swap(rounds.from, rounds.to);
    }
    for (int64_t value : rounds.from) ASSERT_EQ(value, 3001) << threads << " threads";
  }
}

// Workers are asleep, spinning or late at the start of a round.
TEST(ThreadPool, RoundsAfterPausesOfAnyLengthAreComplete) {
  ThreadPool pool(4);
  for (int i = 0; i < 200; ++i) {
    std::this_thread::sleep_for(std::chrono::microseconds(i % 40 * 5));
    Counts counts(1 + i % 9);
    counts.num_workers = 4;
    pool.ParallelFor(1 + i % 9, Counts::Run, &counts);
    for (const std::atomic<int>& runs : counts.runs) ASSERT_EQ(runs, 1);
  }
}

TEST(ThreadPool, OneTaskRunsOnTheCaller) {
  ThreadPool pool(4);
  std::thread::id id;
  pool.ParallelFor(1, [](void* context, int64_t, int) noexcept { *static_cast<std::thread::id*>(context) = std::this_thread::get_id(); }, &id);
  EXPECT_EQ(id, std::this_thread::get_id());
}

TEST(ThreadPool, TheCallersAffinityStaysAsItIs) {
  cpu_set_t before, after;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  ThreadPool pool(2);
  Counts counts(10);
  counts.num_workers = 2;
  pool.ParallelFor(10, Counts::Run, &counts);
  ASSERT_EQ(sched_getaffinity(0, sizeof after, &after), 0);
  EXPECT_TRUE(CPU_EQUAL(&before, &after));
}

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec); };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

TEST(ThreadPool, AnIdlePoolUsesNoCpu) {
  ThreadPool pool(8);
  Counts counts(100);
  counts.num_workers = 8;
  pool.ParallelFor(100, Counts::Run, &counts);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));   // let the workers fall asleep
  const double before = CpuSeconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(400));
  EXPECT_LT(CpuSeconds() - before, 0.1);   // spinning would take 0.8 s on two CPUs
}

// The CPUs that worker 1 may use.
std::vector<int> CpusOfAWorker(ThreadPool::Workers workers) {
  struct Seen {
    std::atomic<int> arrived = 0;
    std::vector<int> cpus;
  } seen;
  ThreadPool pool(2, workers);
  pool.ParallelFor(
      2,
      [](void* context, int64_t, int worker) noexcept {
        auto& s = *static_cast<Seen*>(context);
        if (worker == 1) s.cpus = AllowedCpus();
        ++s.arrived;
        while (s.arrived < 2) std::this_thread::yield();   // so that each of the two has a task
      },
      &seen);
  return seen.cpus;
}

TEST(ThreadPool, OnlyPinnedWorkersHaveACpuOfTheirOwn) {
  if (UsableCpus().size() < 2) GTEST_SKIP() << "needs two CPUs";
  EXPECT_EQ(CpusOfAWorker(ThreadPool::Workers::kPinned).size(), 1u);
  EXPECT_EQ(CpusOfAWorker(ThreadPool::Workers::kFloating), AllowedCpus());
  EXPECT_EQ(CpusOfAWorker(ThreadPool::Workers::kSharing), AllowedCpus());
}

TEST(ThreadPool, ZeroMeansTheUsableCpus) {
  EXPECT_EQ(ThreadPool(0).num_threads(), static_cast<int>(UsableCpus().size()));
  EXPECT_GE(ThreadPool(0).num_threads(), 1);
}

TEST(ThreadPool, RefusesAbsurdNumbers) {
  for (int threads : {-1, 1025, 1 << 30}) EXPECT_THROW(ThreadPool pool(threads), Error) << threads;
}

// A made-up /proc and /sys. The affinity is this process's own, so that the tests hold on a machine of any size.
class UsableCpusTest : public testing::Test {
 protected:
  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = folder_.path() / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text << '\n';
  }
  [[nodiscard]] size_t Count() const { return UsableCpus(folder_.path()).size(); }

  TemporaryFolder folder_;
  const size_t allowed_ = UsableCpus(folder_.path()).size();   // with nothing in the way
};

TEST_F(UsableCpusTest, SiblingsOfOneCoreCountOnce) {
  for (int cpu : UsableCpus(folder_.path())) Write(StrCat("sys/devices/system/cpu/cpu", cpu, "/topology/thread_siblings_list"), "0-1023");
  EXPECT_EQ(Count(), 1u);
}

TEST_F(UsableCpusTest, TheQuotaOfAVersion2GroupIsRespected) {
  Write("proc/self/cgroup", "0::/a/b");
  Write("sys/fs/cgroup/a/b/cpu.max", "max 100000");
  EXPECT_EQ(Count(), allowed_);
  Write("sys/fs/cgroup/a/b/cpu.max", "190000 100000");
  EXPECT_EQ(Count(), 1u);
  Write("sys/fs/cgroup/a/b/cpu.max", "10000 100000");
  EXPECT_EQ(Count(), 1u);   // never none
}

TEST_F(UsableCpusTest, AQuotaFurtherUpIsRespected) {
  Write("proc/self/cgroup", "0::/a/b");
  Write("sys/fs/cgroup/a/b/cpu.max", "max 100000");
  Write("sys/fs/cgroup/a/cpu.max", "100000 100000");
  EXPECT_EQ(Count(), 1u);
}

TEST_F(UsableCpusTest, ALimitSeenAtTheMountOfAContainerIsRespected) {
  Write("proc/self/cgroup", "0::/not/visible/here");
  Write("sys/fs/cgroup/cpu.max", "100000 100000");
  EXPECT_EQ(Count(), 1u);
}

TEST_F(UsableCpusTest, TheQuotaOfAVersion1GroupIsRespected) {
  Write("proc/self/cgroup", "11:memory:/c\n4:cpu,cpuacct:/c");
  Write("sys/fs/cgroup/cpu/c/cpu.cfs_period_us", "100000");
  Write("sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "-1");
  EXPECT_EQ(Count(), allowed_);
  Write("sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "100000");
  EXPECT_EQ(Count(), 1u);
}

}  // namespace
}  // namespace intaglio
