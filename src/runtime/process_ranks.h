// The ranks of a bundle as processes: rank 0 has the engine, and tells the others what to do, step by step. Over any Collectives.
#pragma once
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "bundle/bundle.h"
#include "collectives/collectives.h"
#include "runtime/cpu_device.h"
#include "runtime/device.h"

namespace intaglio::runtime {

// Rank 0's device. While nobody computes it tells the others so every second: a group that waits for ever would never find a dead rank.
class ProcessRanks final : public Device {
 public:
  // `bundle` (of rank 0) and `group` outlive it. Throws Error as CpuDevice, and where the ranks do not agree (agreement.h).
  ProcessRanks(const bundle::Bundle& bundle, kernels::Isa isa, int num_threads, collectives::Collectives& group);
  ~ProcessRanks() override;   // lets the others go

  void Run(size_t plan, const kernels::StepView& view) override;
  [[nodiscard]] std::span<const std::byte> Read(const bundle::Operand& operand) const override { return device_.Read(operand); }
  [[nodiscard]] std::span<const float> Result(size_t plan, int32_t output) override;
  void Write(const bundle::Operand& operand, std::span<const float> values) override { device_.Write(operand, values); }
  [[nodiscard]] int num_threads() const noexcept override { return device_.num_threads(); }

 private:
  void KeepInTouch();

  const bundle::Bundle& bundle_;
  collectives::Collectives& group_;
  CpuDevice device_;
  std::vector<std::byte> message_;
  std::vector<float> results_;   // [outputs, vocabulary], from the first time that somebody asks
  std::mutex mutex_;             // of the group
  std::condition_variable news_;
  bool has_spoken_ = false, is_over_ = false;
  std::thread heartbeat_;
};

// Does what rank 0 says, as another rank, until it lets go. Throws Error as ProcessRanks, and the group's Error.
void FollowRankZero(const bundle::Bundle& bundle, kernels::Isa isa, int num_threads, collectives::Collectives& group);

}  // namespace intaglio::runtime
