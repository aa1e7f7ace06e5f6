#include "runtime/plan_check.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/fail.h"
#include "kernels/kv_layout.h"
#include "kernels/pack.h"
#include "kernels/params.h"

namespace intaglio::runtime {
namespace {

using bundle::Call;
using bundle::Manifest;
using bundle::Operand;
using bundle::Plan;
using bundle::Space;

bool HasState(std::string_view kernel) { return kernel == "causal_conv" || kernel == "gated_delta_rule" || kernel == "ssm_scan"; }

// Operands that a kernel writes, as in kernels/params.h, one bit each. All others are inputs.
uint32_t WrittenOperands(std::string_view kernel) {
  if (kernel.starts_with("matmul_") || kernel.starts_with("expert_matmul_")) return 1u << 0 | 1u << 5;
  if (kernel.starts_with("head_matmul_")) return 1u << 0 | 1u << 3;
  if (kernel == "route" || kernel == "expert_group") return 1u << 0 | 1u << 1;
  if (kernel == "attention") return 1u << 0 | 1u << 3;
  if (kernel == "all_gather") return 1u << 0 | 1u << 2;
  if (kernel == "expert_exchange") return 1u << 0 | 1u << 3;
  if (HasState(kernel)) return 1u << 0 | 1u << 1;
  if (kernel == "sample_decide") return 1u << 0 | 1u << 1 | 1u << 2;
  if (kernel.starts_with("sample_")) return 1u << 0 | 1u << 1;
  if (kernel == "sample") return 1u << 0 | 1u << 2 | 1u << 3;
  return 1u << 0;
}

class CallChecker {
 public:
  CallChecker(const Plan& plan, const Call& call, const Manifest& manifest) : plan_(plan), call_(call), manifest_(manifest) {}

  void Check() const {
    CheckSpaces();
    CheckCapacity();
    const std::string_view kernel = call_.kernel;
    if (kernel.starts_with("matmul_") || kernel.starts_with("expert_matmul_") || kernel.starts_with("head_matmul_")) CheckPacked(operand(2));
    if (kernel.starts_with("embed_")) CheckPacked(operand(1));
    // A rank of several gives zeros for the tokens of others.
    if (kernel.starts_with("embed_") && manifest_.ranks.empty())
      CheckAtLeast(operand(1).rows, manifest_.vocab_size, "rows of the embedding table for a vocabulary");
    if (kernel == "rope" || kernel == "norm_rope") CheckRotation();
    if (kernel == "scale_by_position" || kernel == "add_position")
      CheckAtLeast(operand(2).rows, manifest_.max_context, "rows of the table of positions for a context");
    if (kernel.starts_with("sample_"))
      Require(call_.ints[kernels::sample_params::kVocab] == manifest_.vocab_size, "samples from a vocabulary of ",
              call_.ints[kernels::sample_params::kVocab], ", the bundle's has ", manifest_.vocab_size);
    if (kernel == "sample") CheckAtLeast(operand(1).cols, manifest_.vocab_size, "logits for a vocabulary");
    if (kernel == "kv_write") CheckKvCache(operand(0));
    if (kernel == "attention") CheckKvCache(operand(2));
    if (HasState(kernel)) CheckState(operand(1));
  }

 private:
  template <typename... Parts>
  void Require(bool is_ok, const Parts&... message) const {
    intaglio::Require(is_ok, ErrorCode::kDataLoss, "plan of ", Name(plan_.phase), " with ", plan_.rows, " rows: call ", call_.label, " (",
                      call_.kernel, ") ", message...);
  }

  [[nodiscard]] Operand operand(size_t i) const { return i < call_.operands.size() ? call_.operands[i] : Operand{}; }

  void CheckAtLeast(int64_t have, int64_t want, std::string_view what) const { Require(have >= want, "has ", have, ' ', what, " of ", want); }

  void CheckSpaces() const {
    Require(!call_.operands.empty(), "has no operands");
    const uint32_t written = WrittenOperands(call_.kernel);
    for (size_t i = 0; i < call_.operands.size(); ++i) {
      const bool is_written = (written >> std::min<size_t>(i, 31) & 1u) != 0;
      Require(!is_written || call_.operands[i].space != Space::kWeights, "would write to weights (operand ", i, ')');
    }
  }

  void CheckRotation() const {
    const int64_t has_rows = call_.ints[kernels::rope_params::kHasRows];
    if (has_rows == 2) return CheckAtLeast(operand(2).rows, plan_.rows, "rows of rotations for a step");
    const int64_t rows = manifest_.max_context + (has_rows == 0 ? 0 : manifest_.rope_switch);
    CheckAtLeast(operand(2).rows, rows, "rows of the rotary table for a context");
  }

  void CheckCapacity() const {
    const int64_t domain = call_.ints[kernels::kDomain];
    Require(domain == 0 || domain == 1, "has no domain ", domain);
    const int64_t capacity = domain == static_cast<int64_t>(kernels::Domain::kRows) ? plan_.rows : plan_.outputs;
    const bool is_shared_sampling = call_.kernel.starts_with("sample_");   // begins with a workspace
    const int64_t rows = is_shared_sampling ? call_.ints[kernels::sample_params::kOutputs] : operand(call_.kernel == "kv_write" ? 1 : 0).rows;
    CheckAtLeast(rows, capacity, "rows for a step");
    if (call_.kernel == "gather_rows" || call_.kernel == "pool") CheckAtLeast(operand(1).rows, plan_.rows, "rows to gather from, in a step");
  }

  // The reader of bundles cannot tell packed weights, which are padded to whole blocks, from plain ones.
  void CheckPacked(const Operand& weight) const {
    constexpr int64_t kMaxSide = int64_t{1} << 30;  // keeps PackedBytes within 64 bits
    const bool has_packing = weight.dtype == DType::kF32 || weight.dtype == DType::kBF16 || IsQuantized(weight.dtype);
    const bool is_weight = has_packing && weight.rows > 0 && weight.rows <= kMaxSide && weight.cols > 0 && weight.cols <= kMaxSide;
    Require(is_weight, "has no packed weight, but ", Name(weight.dtype), ' ', weight.rows, " x ", weight.cols);
    const auto bytes = static_cast<uint64_t>(kernels::PackedBytes(weight.rows, weight.cols, weight.dtype));
    Require(IsQuantized(weight.dtype) ? weight.bytes == bytes : weight.bytes >= bytes, "has ", weight.bytes, " bytes of packed weight, ", weight.rows,
            " x ", weight.cols, " takes ", bytes);
  }

  void CheckKvCache(const Operand& cache) const {
    using namespace kernels::attention_params;
    const int64_t group = call_.ints[kGroup], blocks = call_.ints[kNumBlocks];
    Require(cache.space == Space::kKvCache, "has its KV cache elsewhere than in the KV pool");
    Require(group >= 0 && group < std::ssize(manifest_.kv_groups), "names KV group ", group, " of ", manifest_.kv_groups.size());
    CheckAtLeast(blocks, manifest_.max_slots * manifest_.kv_groups[static_cast<size_t>(group)].blocks_per_slot, "KV blocks for a pool");
    const int64_t kv_heads = call_.ints[kKvHeads], head_dim = call_.ints[kHeadDim], v_dim = call_.ints[kVDim] == 0 ? head_dim : call_.ints[kVDim];
    constexpr int64_t kPlausible = 1 << 20;  // keeps the product below within 64 bits
    Require(kv_heads > 0 && kv_heads < kPlausible && head_dim > 0 && head_dim < kPlausible && v_dim > 0 && v_dim < kPlausible &&
                blocks < (int64_t{1} << 40),
            "has KV heads ", kv_heads, " x ", head_dim);
    Require(kernels::IsKvType(cache.dtype), "has a KV cache of ", Name(cache.dtype));
    const auto block_bytes = static_cast<uint64_t>(kernels::KvBlockBytes(kv_heads, {head_dim, v_dim, cache.dtype}));
    Require(cache.bytes / block_bytes >= static_cast<uint64_t>(blocks), "has ", cache.bytes, " bytes of KV cache for ", blocks, " blocks of ",
            block_bytes);
  }

  void CheckState(const Operand& state) const {
    const int64_t entries = call_.ints[kernels::state_params::kEntries];
    constexpr int64_t kMostEntries = 1 << 20;  // keeps the product below within 64 bits
    Require(state.space == Space::kKvCache, "has its state elsewhere than in the KV pool");
    Require(entries >= 1 && entries <= kMostEntries, "keeps ", entries, " entries of its state");
    CheckAtLeast(state.rows, manifest_.max_slots * entries, "entries of a state for slots with a total");
  }

  const Plan& plan_;
  const Call& call_;
  const Manifest& manifest_;
};

void CheckResult(const Plan& plan, const Operand& operand, DType dtype, int64_t cols, std::string_view what) {
  const bool is_ok = operand.space == Space::kArena && operand.dtype == dtype && operand.rows >= plan.outputs && operand.cols == cols &&
                     operand.stride >= cols && operand.bytes / SizeOf(dtype) >= static_cast<uint64_t>((operand.rows - 1) * operand.stride + cols);
  Require(is_ok, ErrorCode::kDataLoss, "plan of ", Name(plan.phase), " with ", plan.rows, " rows: its ", what, " are no ", Name(dtype), " matrix of ",
          plan.outputs, " x ", cols, " in the arena");
}

void CheckResults(const Plan& plan, const Manifest& manifest) {
  if (manifest.embedding) {
    Require(plan.phase == Phase::kContextEncoding, ErrorCode::kDataLoss, "a bundle that embeds has a plan of ", Name(plan.phase));
    return CheckResult(plan, plan.logits, DType::kF32, manifest.embedding->dim, "embeddings");
  }
  CheckResult(plan, plan.logits, DType::kF32, manifest.own_vocab(), "logits");
  CheckResult(plan, plan.ids, DType::kI32, 1, "ids");
  CheckResult(plan, plan.logprobs, DType::kF32, kernels::sample_params::kLogprobCols, "log-probabilities");
}

}  // namespace

void CheckManifest(const Manifest& manifest) {
  constexpr int64_t kMaxSlots = 1 << 16, kMaxHistory = int64_t{1} << 32;  // far beyond any machine; keeps tables of slots x context sane
  const bool is_ok = manifest.max_slots > 0 && manifest.max_slots <= kMaxSlots && manifest.max_context > 0 &&
                     manifest.max_context <= kMaxHistory / manifest.max_slots;
  Require(is_ok, ErrorCode::kDataLoss, "the bundle's manifest has ", manifest.max_slots, " slots of ", manifest.max_context,
          " tokens, which cannot be");
  Require(manifest.speculation >= 0 && manifest.speculation < kMaxSlots, ErrorCode::kDataLoss, "the bundle's manifest has a speculation of ",
          manifest.speculation, " tokens");
  Require(manifest.vocab_size > 0 && manifest.vocab_size <= INT32_MAX, ErrorCode::kDataLoss, "the bundle's manifest has a vocabulary of ",
          manifest.vocab_size);
  const int32_t tp = manifest.tp_degree, ep = manifest.ep_degree;
  Require(tp <= kernels::kSegments && ep <= tp && tp % ep == 0 && kernels::kSegments % ep == 0, ErrorCode::kDataLoss, "the bundle's manifest is for ",
          tp, " ranks, of which ", ep, " share out the experts, which cannot be");
  Require(manifest.rope_switch >= 0 && manifest.rope_switch < manifest.max_context, ErrorCode::kDataLoss,
          "the bundle's manifest has a rope_switch of ", manifest.rope_switch, " in a context of ", manifest.max_context);
  for (const bundle::KvGroup& group : manifest.kv_groups) {
    Require(group.window >= 0 && group.blocks_per_slot >= 0 && group.blocks_per_slot <= INT32_MAX / manifest.max_slots, ErrorCode::kDataLoss,
            "the bundle's manifest has a KV group of window ", group.window, " with ", group.blocks_per_slot, " blocks a slot");
  }
}

void CheckPlans(std::span<const Plan> plans, const Manifest& manifest) {
  constexpr int32_t kMaxRows = 1 << 16;  // far beyond any useful step; keeps the runtime's own tables sane
  for (const Plan& plan : plans) {
    Require(plan.rows > 0 && plan.rows <= kMaxRows && plan.outputs > 0 && plan.outputs <= plan.rows, ErrorCode::kDataLoss, "a plan of ",
            Name(plan.phase), " has ", plan.rows, " rows and ", plan.outputs, " outputs");
    CheckResults(plan, manifest);
    for (const Call& call : plan.calls) CallChecker(plan, call, manifest).Check();
  }
}

}  // namespace intaglio::runtime
