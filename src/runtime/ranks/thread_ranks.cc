#include "runtime/ranks/thread_ranks.h"

#include <algorithm>
#include <system_error>
#include <thread>

#include "base/cpus.h"
#include "base/fail.h"
#include "base/spin.h"
#include "collectives/failure.h"
#include "runtime/plan_check.h"
#include "runtime/ranks/agreement.h"

namespace intaglio::runtime {
namespace {

// Spinning helps only where no thread keeps another from its CPU.
collectives::Patience PatienceFor(const std::vector<RankCpus>& places) {
  size_t threads = 0;
  for (const RankCpus& place : places) threads += static_cast<size_t>(place.num_threads);
  return {.spin = threads <= UsableCpus().size() ? kSpinTime : std::chrono::microseconds(0)};
}

}  // namespace

struct ThreadRanks::Rank {
  std::unique_ptr<const bundle::Bundle> own;   // null for rank 0
  const bundle::Bundle* bundle = nullptr;
  std::unique_ptr<CpuDevice> device;
  std::thread leader;
};

ThreadRanks::ThreadRanks(const bundle::Bundle& first, const Options& options)
    : first_(first), options_(options), group_(first.manifest.tp_degree, PatienceFor(options.places)) {
  for (int r = 0; r < first.manifest.tp_degree; ++r) ranks_.push_back(std::make_unique<Rank>());
  try {
    for (int r = 0; r < first.manifest.tp_degree; ++r) ranks_[static_cast<size_t>(r)]->leader = std::thread([this, r] { Lead(r); });
    for (const Job job : {Job::kOpen, Job::kAgree, Job::kBuild}) Together(job);
  } catch (const std::system_error& e) {
    Together(Job::kStop);
    Fail(ErrorCode::kResourceExhausted, "cannot start a thread for every rank: ", e.what());
  } catch (...) {
    Together(Job::kStop);
    throw;
  }
}

ThreadRanks::~ThreadRanks() { Together(Job::kStop); }

// Hands a job to all leaders that run and waits for them; after kStop they have ended. A group that has failed only stops.
void ThreadRanks::Together(Job job) {
  if (job != Job::kStop) ThrowIfFailed();
  job_ = job;
  const auto num_running = std::ranges::count_if(ranks_, [](const auto& rank) { return rank->leader.joinable(); });
  unfinished_.store(static_cast<int>(num_running), std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  const auto is_done = [this] { return unfinished_.load(std::memory_order_acquire) == 0; };
  while (!SpinUntil(kSpinTime, is_done)) {
    if (const int left = unfinished_.load(std::memory_order_acquire); left != 0) unfinished_.wait(left, std::memory_order_acquire);
  }
  if (job == Job::kStop) {
    for (const auto& rank : ranks_) {
      if (rank->leader.joinable()) rank->leader.join();
    }
  } else {
    ThrowIfFailed();
  }
}

// REQUIRES: leaders wait for a job
void ThreadRanks::ThrowIfFailed() {
  if (has_failed_.load(std::memory_order_relaxed)) group_.rank(0).Barrier();   // throws the group's Error
}

void ThreadRanks::Lead(int rank) {
  BindThisThread(options_.places[static_cast<size_t>(rank)]);
  uint32_t seen = 0;
  while (true) {
    const auto has_news = [&] { return generation_.load(std::memory_order_acquire) != seen; };
    while (!SpinUntil(kSpinTime, has_news)) generation_.wait(seen, std::memory_order_acquire);
    ++seen;
    const bool is_last = job_ == Job::kStop;
    if (!is_last) {
      try {
        Do(*ranks_[static_cast<size_t>(rank)], rank);
      } catch (...) {
        collectives::AbortByException(group_.rank(rank));
        has_failed_.store(true, std::memory_order_relaxed);
        loading_.request_stop();
      }
    }
    if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_one();
    if (is_last) return;
  }
}

// One rank speaks of how far it is.
Residency ThreadRanks::ResidencyOf(int index) const {
  Residency residency = options_.residency;
  if (index > 0) residency.on_progress = nullptr;
  return residency;
}

void ThreadRanks::Do(Rank& rank, int index) {
  switch (job_) {
    case Job::kOpen:
      if (index > 0) {
        auto own = bundle::Bundle::Open(first_.path, options_.verify_checksums, index, loading_.get_token(), KnownHashes(options_.cache));
        CheckManifest(own.manifest), CheckPlans(own.plans, own.manifest);
        rank.own = std::make_unique<const bundle::Bundle>(std::move(own));
      }
      rank.bundle = index > 0 ? rank.own.get() : &first_;
      break;
    case Job::kAgree:
      Agree(*rank.bundle, group_.rank(index));
      break;
    case Job::kBuild:
      rank.device = std::make_unique<CpuDevice>(*rank.bundle, options_.isa, options_.places[static_cast<size_t>(index)],
                                                RankLink{.group = &group_.rank(index), .wire = options_.wire, .overlaps = options_.overlaps},
                                                loading_.get_token());
      rank.device->MakeResident(ResidencyOf(index), loading_.get_token());
      break;
    case Job::kStep:
      rank.device->Run(plan_, *view_);
      break;
    case Job::kStop:
      break;
  }
}

void ThreadRanks::Run(size_t plan, const kernels::StepView& view) {
  plan_ = plan;
  view_ = &view;
  Together(Job::kStep);
}

std::span<const std::byte> ThreadRanks::Read(const bundle::Operand& operand) const { return ranks_.front()->device->Read(operand); }

std::span<const float> ThreadRanks::Result(size_t plan, int32_t output) {
  const bundle::Manifest& manifest = first_.manifest;
  if (manifest.embedding) return ranks_.front()->device->Result(plan, output);
  const auto vocab = static_cast<size_t>(manifest.vocab_size);
  if (results_.empty()) {
    int32_t outputs = 0;
    for (const bundle::Plan& p : first_.plans) outputs = std::max(outputs, p.outputs);
    results_.resize(static_cast<size_t>(outputs) * vocab);
  }
  const auto row = std::span(results_).subspan(static_cast<size_t>(output) * vocab, vocab);
  auto to = row.begin();
  for (const auto& rank : ranks_) to = std::ranges::copy(rank->device->Result(plan, output), to).out;
  return row;
}

void ThreadRanks::Write(const bundle::Operand& operand, std::span<const float> values) {
  for (const auto& rank : ranks_) rank->device->Write(operand, values);
}

int ThreadRanks::num_threads() const noexcept { return ranks_.front()->device->num_threads(); }

}  // namespace intaglio::runtime
