#include "runtime/cpu_device.h"

#include <algorithm>

#include "base/assert.h"
#include "base/fail.h"
#include "kernels/params.h"
#include "kernels/registry.h"

namespace intaglio::runtime {
namespace {

uint64_t ArenaBytes(const bundle::Bundle& bundle) {
  uint64_t bytes = 0;
  for (const bundle::Plan& plan : bundle.plans) bytes = std::max(bytes, plan.arena_bytes);
  return bytes;
}

// All that a task needs, on the stack of Run.
struct StageContext {
  const kernels::Kernel& kernel;
  const kernels::KernelCall& call;
  const kernels::StepView& view;
  std::byte* scratch;
  int stage;
};

void RunTask(void* context, int64_t task, int worker) noexcept {
  const auto& c = *static_cast<const StageContext*>(context);
  c.kernel.run(c.call, c.view, c.stage, task, c.scratch + static_cast<size_t>(worker) * kernels::kScratchBytes);
}

// The product's rows are summed over ranks next, and nothing else is done to them before.
bool Feeds(const kernels::KernelCall& matmul, const kernels::KernelCall& sum) {
  return matmul[0].data == sum[0].data && matmul[0].rows == sum[0].rows && !matmul[3].is_present() && !matmul[4].is_present() &&
         matmul.params.ints[kernels::kRowMultiple] <= 1;
}

kernels::Tensor RowsOf(const kernels::Tensor& tensor, int64_t begin, int64_t end) {
  kernels::Tensor rows = tensor;
  rows.data = reinterpret_cast<std::byte*>(tensor.f32(begin));
  rows.rows = end - begin;
  return rows;
}

void RequireWanted(const bundle::Bundle& bundle, const std::stop_token& stop) {
  Require(!stop.stop_requested(), ErrorCode::kUnavailable, bundle.path.string(), ": loading was called off");
}

}  // namespace

CpuDevice::CpuDevice(const bundle::Bundle& bundle, kernels::Isa isa, const RankCpus& place, const RankLink& link, const std::stop_token& stop)
    : bundle_(bundle), link_(link), pool_(place.num_threads, place.workers) {
  kv_cache_ = Pages(bundle.manifest.memory.kv_cache, Pages::Size::kHuge, "the KV cache");
  arena_ = Pages(ArenaBytes(bundle), Pages::Size::kHuge, "the arena");
  scratch_ = Pages(static_cast<uint64_t>(pool_.num_threads()) * kernels::kScratchBytes, Pages::Size::kSmall, "the threads' scratch memory");
  // Read front to back, a disk is faster than in the order in which threads come to need it.
  if (!bundle.weights.is_cached()) bundle.weights.Prefault([&](size_t) { return !stop.stop_requested(); });
  RequireWanted(bundle, stop);
  for (const bundle::Plan& plan : bundle.plans) {
    std::vector<ResolvedCall>& calls = plans_.emplace_back();
    calls.reserve(plan.calls.size());
    for (const bundle::Call& call : plan.calls) calls.push_back(Resolve(call, isa));
    for (size_t i = 0; i + 1 < calls.size(); ++i)
      calls[i].feeds_next = plan.calls[i].kernel.starts_with("matmul_") && calls[i + 1].kernel == nullptr && Feeds(calls[i].call, calls[i + 1].call);
  }
  if (link.overlaps) sender_.emplace(*link.group);
}

void CpuDevice::MakeResident(const Residency& residency, const std::stop_token& stop) {
  if (!residency.is_full && !residency.is_locked) return;
  const std::span<const std::byte> weights = bundle_.weights.bytes(), kv_cache = kv_cache_.bytes(), arena = arena_.bytes();
  const uint64_t total = weights.size() + kv_cache.size() + arena.size();
  uint64_t done = 0;
  const auto on_part = [&](size_t bytes) {
    done += bytes;
    if (residency.on_progress) residency.on_progress(done, total);
    return !stop.stop_requested();
  };
  bundle_.weights.Prefault(on_part);
  kv_cache_.Prefault(on_part);
  arena_.Prefault(on_part);
  RequireWanted(bundle_, stop);
  if (!residency.is_locked) return;
  LockInMemory(weights, "the weights");
  LockInMemory(kv_cache, "the KV cache");
  LockInMemory(arena, "the arena");
}

std::byte* CpuDevice::Address(const bundle::Operand& operand) const noexcept {
  switch (operand.space) {
    case bundle::Space::kNone:
      return nullptr;
    case bundle::Space::kArena:
      return arena_.data() + operand.offset;
    case bundle::Space::kKvCache:
      return kv_cache_.data() + operand.offset;
    // Mapped read-only; plan_check.h lets no call write there.
    case bundle::Space::kWeights:
      return const_cast<std::byte*>(bundle_.weights.bytes().data()) + operand.offset;
  }
  return nullptr;
}

CpuDevice::ResolvedCall CpuDevice::Resolve(const bundle::Call& call, kernels::Isa isa) const {
  const std::optional<CollectiveKind> collective = link_.group == nullptr ? std::nullopt : CollectiveOf(call.kernel);
  ResolvedCall resolved{.kernel = collective ? nullptr : kernels::FindKernel(call.kernel, isa), .call = {}};
  Require(collective || resolved.kernel != nullptr, ErrorCode::kUnsupported, "call ", call.label, " of the plan wants a kernel ", call.kernel,
          ", which this version of intaglio does not have: export the bundle again with it");
  Require(call.operands.size() <= kernels::kMaxOperands, ErrorCode::kDataLoss, "call ", call.label, " of the plan has ", call.operands.size(),
          " operands; at most ", kernels::kMaxOperands, " are possible");
  for (size_t i = 0; i < call.operands.size(); ++i) {
    const bundle::Operand& operand = call.operands[i];
    resolved.call.operands[i] = {
        .data = Address(operand), .rows = operand.rows, .cols = operand.cols, .stride = operand.stride, .dtype = operand.dtype};
  }
  resolved.call.params = {.ints = call.ints, .floats = call.floats};
  if (collective) resolved.collective = *collective;
  const char* fault = collective ? CheckCollective(*collective, resolved.call, *link_.group) : resolved.kernel->check(resolved.call);
  Require(fault == nullptr, ErrorCode::kDataLoss, "call ", call.label, " (", call.kernel,
          ") of the plan cannot run: ", fault == nullptr ? "" : fault);
  return resolved;
}

void CpuDevice::Run(size_t plan, const kernels::StepView& view) {
  const std::vector<ResolvedCall>& calls = plans_[plan];
  for (size_t i = 0; i < calls.size(); ++i) {
    if (calls[i].kernel == nullptr) {
      RunCollectively(calls[i], view);
    } else if (calls[i].feeds_next && NumParts(calls[i + 1], view) > 1) {
      SumByParts(&calls[i], calls[i + 1], view);
      ++i;
    } else {
      RunKernel(calls[i], view);
    }
  }
}

void CpuDevice::RunCollectively(const ResolvedCall& resolved, const kernels::StepView& view) {
  if (NumParts(resolved, view) > 1) return SumByParts(/*matmul=*/nullptr, resolved, view);
  RunCollective(resolved.collective, resolved.call, view, link_);
}

int64_t CpuDevice::NumParts(const ResolvedCall& sum, const kernels::StepView& view) const noexcept {
  constexpr int64_t kLeastRows = 64, kMostParts = 4;
  const kernels::KernelCall& call = sum.call;
  const bool is_of_rows = call.params.ints[kernels::kDomain] == static_cast<int64_t>(kernels::Domain::kRows) &&
                          call.params.ints[kernels::kRowMultiple] <= 1 && call[0].cols > kernels::kLanes;
  if (!sender_ || sum.collective != CollectiveKind::kAllReduce || !is_of_rows) return 1;
  return std::clamp<int64_t>(view.num_rows / kLeastRows, 1, kMostParts);
}

void CpuDevice::SumByParts(const ResolvedCall* matmul, const ResolvedCall& sum, const kernels::StepView& view) {
  const int64_t rows = std::min<int64_t>(view.num_rows, sum.call[0].rows), parts = NumParts(sum, view);
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t begin = rows * part / parts, end = rows * (part + 1) / parts;
    if (matmul != nullptr) {
      ResolvedCall some{.kernel = matmul->kernel, .call = matmul->call};
      for (size_t i : {0u, 1u}) some.call.operands[i] = RowsOf(matmul->call.operands[i], begin, end);
      kernels::StepView part_view = view;
      part_view.num_rows = static_cast<int32_t>(end - begin);
      RunKernel(some, part_view);
    }
    sender_->Post(SummedFloats(sum.call[0], begin, end), WireOf(sum.call[0], link_));
  }
  sender_->Wait();
}

void CpuDevice::RunKernel(const ResolvedCall& resolved, const kernels::StepView& view) noexcept {
  for (int stage = 0; stage < resolved.kernel->num_stages; ++stage) {
    const int64_t num_tasks = resolved.kernel->num_tasks(resolved.call, view, stage);
    if (num_tasks == 0) continue;
    StageContext context{.kernel = *resolved.kernel, .call = resolved.call, .view = view, .scratch = scratch_.data(), .stage = stage};
    pool_.ParallelFor(num_tasks, RunTask, &context);
  }
}

std::span<const float> CpuDevice::Result(size_t plan, int32_t output) {
  const bundle::Operand& result = bundle_.plans[plan].logits;
  return {reinterpret_cast<const float*>(Address(result)) + output * result.stride, static_cast<size_t>(result.cols)};
}

void CpuDevice::Write(const bundle::Operand& operand, std::span<const float> values) {
  Assert(operand.space == bundle::Space::kArena && operand.dtype == DType::kF32 && std::ssize(values) <= operand.rows * operand.cols);
  const auto cols = static_cast<size_t>(operand.cols);
  auto* row = reinterpret_cast<float*>(Address(operand));
  for (; !values.empty(); values = values.subspan(cols), row += operand.stride) std::copy_n(values.begin(), cols, row);
}

std::span<const std::byte> CpuDevice::Read(const bundle::Operand& operand) const { return {Address(operand), operand.bytes}; }

}  // namespace intaglio::runtime
