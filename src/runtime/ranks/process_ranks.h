// The ranks of a bundle as processes: rank 0 has the engine, and tells the others what to do, step by step. Over any Collectives.
#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "bundle/bundle.h"
#include "collectives/collectives.h"
#include "runtime/cpu_device.h"
#include "runtime/device.h"
#include "runtime/ranks/conversation.h"
#include "runtime/ranks/placement.h"

namespace intaglio::runtime {

// How a rank computes.
struct RankOptions {
  std::optional<kernels::Isa> isa{};   // none: the best that each rank's CPU has, which does not change a bit
  PlacementOptions placement{};        // of each rank (OfEachRank)
  collectives::Wire wire = collectives::Wire::kF32;
  bool verify_checksums = true;
  std::filesystem::path cache{};       // EngineOptions::cache; the same path for all ranks
  Residency residency{};               // of each rank; rank 0's progress
};

// Rank 0's device.
class ProcessRanks final : public Device {
 public:
  // `bundle` (as rank 0 sees it, checked) and `conversation` outlive it. The others open theirs by the same path. `isa` is rank 0's own.
  // Throws Error as Bundle::Open and CpuDevice, of whichever rank, and where the ranks do not agree (agreement.h).
  ProcessRanks(const bundle::Bundle& bundle, kernels::Isa isa, const RankOptions& options, Conversation& conversation);
  ~ProcessRanks() override;

  void Run(size_t plan, const kernels::StepView& view) override;
  [[nodiscard]] std::span<const std::byte> Read(const bundle::Operand& operand) const override { return device_->Read(operand); }
  [[nodiscard]] std::span<const float> Result(size_t plan, int32_t output) override;
  void Write(const bundle::Operand& operand, std::span<const float> values) override { device_->Write(operand, values); }
  [[nodiscard]] int num_threads() const noexcept override { return device_->num_threads(); }

 private:
  const bundle::Bundle& bundle_;
  Conversation& conversation_;
  std::unique_ptr<CpuDevice> device_;
  std::vector<std::byte> message_;
  std::vector<float> results_;   // [outputs, vocabulary], from the first time that somebody asks
};

// Another rank's part, from the word kLoad, whose body this is, to kUnload. What it throws is the group's Error, which ends all ranks.
void FollowRankZero(std::span<const std::byte> load, collectives::Collectives& group);

}  // namespace intaglio::runtime
