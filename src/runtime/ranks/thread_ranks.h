// The ranks of a bundle as threads of this process: one leader each, which owns the rank's device and that device's pool, and runs on the
// rank's own CPUs, so that its memory is first touched there. Leaders sleep between steps.
#pragma once
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <stop_token>
#include <vector>

#include "bundle/bundle.h"
#include "collectives/thread_group.h"
#include "runtime/cpu_device.h"
#include "runtime/device.h"
#include "runtime/ranks/placement.h"

namespace intaglio::runtime {

class ThreadRanks final : public Device {
 public:
  struct Options {
    kernels::Isa isa{};
    std::vector<RankCpus> places;    // one a rank
    bool verify_checksums = true;
    std::filesystem::path cache{};   // EngineOptions::cache
    Residency residency{};           // of each rank; rank 0's progress
    collectives::Wire wire = collectives::Wire::kF32;
    bool overlaps = false;           // RankLink::overlaps: a thread more a rank
  };
  // `first` is the bundle as rank 0 sees it, checked; it must outlive this. Throws Error as Bundle::Open and CpuDevice, naming the rank.
  ThreadRanks(const bundle::Bundle& first, const Options& options);
  ~ThreadRanks() override;

  void Run(size_t plan, const kernels::StepView& view) override;
  [[nodiscard]] std::span<const std::byte> Read(const bundle::Operand& operand) const override;
  [[nodiscard]] std::span<const float> Result(size_t plan, int32_t output) override;
  void Write(const bundle::Operand& operand, std::span<const float> values) override;
  [[nodiscard]] int num_threads() const noexcept override;

 private:
  struct Rank;
  // What leaders do next, one after the other: open the bundle, agree, build their devices, then steps, until they stop.
  enum class Job : uint8_t { kOpen, kAgree, kBuild, kStep, kStop };
  void Lead(int rank);
  void Do(Rank& rank, int index);
  [[nodiscard]] Residency ResidencyOf(int index) const;
  void Together(Job job);
  void ThrowIfFailed();

  const bundle::Bundle& first_;
  const Options options_;
  collectives::ThreadGroup group_;
  std::vector<std::unique_ptr<Rank>> ranks_;
  std::vector<float> results_;                      // [outputs, vocabulary], from the first time that somebody asks

  Job job_ = Job::kOpen;
  size_t plan_ = 0;
  const kernels::StepView* view_ = nullptr;
  alignas(64) std::atomic<uint32_t> generation_{0};   // of jobs
  alignas(64) std::atomic<int> unfinished_{0};
  std::atomic<bool> has_failed_{false};
  std::stop_source loading_;   // which a rank that fails calls off
};

}  // namespace intaglio::runtime
