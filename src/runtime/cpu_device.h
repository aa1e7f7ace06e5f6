// The CPU as a device: walks a plan's calls, each resolved once, at load, to a kernel and absolute pointers.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <vector>

#include "base/thread_pool.h"
#include "collectives/collectives.h"
#include "runtime/device.h"
#include "runtime/pages.h"
#include "runtime/ranks/collective_calls.h"
#include "runtime/ranks/placement.h"
#include "runtime/ranks/sender.h"

namespace intaglio::runtime {

// How much of a device's memory is in RAM, and in the page table, before the first step.
struct Residency {
  bool is_full = false;     // weights, KV cache and arena; else what steps touch first, when they do
  bool is_locked = false;   // full, and stays so
  std::function<void(uint64_t done, uint64_t total)> on_progress{};   // in bytes
};

class CpuDevice final : public Device {
 public:
  // `bundle` must outlive it, and the group of `link`, which only a rank of several has. The calling thread computes too, and
  // like its pool's it touches memory first where it runs: it has bound itself to `place` (BindThisThread) if it is to be. Throws Error: kDataLoss for a call that its kernel forbids,
  // kUnsupported for a kernel that this version lacks, kResourceExhausted when memory does not suffice, kUnavailable when somebody asks to
  // stop. REQUIRES: CheckPlans (plan_check.h) passed
  CpuDevice(const bundle::Bundle& bundle, kernels::Isa isa, const RankCpus& place, const RankLink& link = {}, const std::stop_token& stop = {});
  // To be called by the thread that made it, before the first step. Throws Error kResourceExhausted where memory must not be locked,
  // kUnavailable when somebody asks to stop.
  void MakeResident(const Residency& residency, const std::stop_token& stop = {});

  void Run(size_t plan, const kernels::StepView& view) override;
  // Of a rank of several: its own columns.
  [[nodiscard]] std::span<const float> Result(size_t plan, int32_t output) override;
  [[nodiscard]] std::span<const std::byte> Read(const bundle::Operand& operand) const override;
  void Write(const bundle::Operand& operand, std::span<const float> values) override;
  [[nodiscard]] int num_threads() const noexcept override { return pool_.num_threads(); }

 private:
  struct ResolvedCall {
    const kernels::Kernel* kernel = nullptr;  // null: a collective
    CollectiveKind collective{};
    bool feeds_next = false;  // a matmul, right before the all-reduce of what it makes
    kernels::KernelCall call;
  };
  void RunKernel(const ResolvedCall& resolved, const kernels::StepView& view) noexcept;
  void RunCollectively(const ResolvedCall& resolved, const kernels::StepView& view);
  // The matmul (if there is one) and the all-reduce of its product, some rows at a time.
  void SumByParts(const ResolvedCall* matmul, const ResolvedCall& sum, const kernels::StepView& view);
  // Parts of rows that an all-reduce is made in, the same on all ranks.
  [[nodiscard]] int64_t NumParts(const ResolvedCall& sum, const kernels::StepView& view) const noexcept;
  [[nodiscard]] std::byte* Address(const bundle::Operand& operand) const noexcept;
  [[nodiscard]] ResolvedCall Resolve(const bundle::Call& call, kernels::Isa isa) const;

  const bundle::Bundle& bundle_;
  const RankLink link_;
  ThreadPool pool_;
  std::optional<Sender> sender_;
  Pages kv_cache_, arena_;
  Pages scratch_;  // [threads][kScratchBytes]
  std::vector<std::vector<ResolvedCall>> plans_;
};

}  // namespace intaglio::runtime
