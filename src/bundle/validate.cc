#include "bundle/validate.h"

#include <algorithm>
#include <limits>

#include "base/fail.h"

namespace intaglio::bundle {
namespace {

constexpr uint64_t kAlignment = 64;
constexpr int64_t kLargestSide = int64_t{1} << 40;
constexpr uint64_t kNoFit = std::numeric_limits<uint64_t>::max();

// rows * cols * element size, or kNoFit. REQUIRES: neither is negative
uint64_t Product(int64_t rows, int64_t cols, DType dtype) {
  uint64_t elements = 0, bytes = 0;
  const bool has_overflow = __builtin_mul_overflow(static_cast<uint64_t>(rows), static_cast<uint64_t>(cols), &elements) ||
                            __builtin_mul_overflow(elements, static_cast<uint64_t>(SizeOf(dtype)), &bytes);
  return has_overflow ? kNoFit : bytes;
}

// Bytes from an operand's first element to the end of its last. REQUIRES: sides within 1 to kLargestSide
uint64_t Extent(const Operand& operand) {
  const uint64_t before_last = Product(operand.rows - 1, operand.stride, operand.dtype), last = Product(1, operand.cols, operand.dtype);
  return before_last > kNoFit - last ? kNoFit : before_last + last;
}

bool IsSide(int64_t size) { return size >= 1 && size <= kLargestSide; }

class Validator {
 public:
  explicit Validator(const Bundle& bundle) : bundle_(bundle), manifest_(bundle.manifest), where_(bundle.path.string()) {}

  void Run() const {
    CheckRanks();
    CheckKvCache();
    CheckWeights();
    for (const Plan& plan : bundle_.plans) CheckPlan(plan);
    CheckBuckets();
  }

 private:
  template <typename... Parts>
  void Expect(bool is_ok, const Parts&... message) const {
    Require(is_ok, ErrorCode::kDataLoss, where_, ": ", message..., ": run intaglio export again");
  }

  // Their parts of the vocabulary follow each other.
  void CheckRanks() const {
    if (manifest_.embedding) return;
    int64_t end = 0;
    for (const RankEntry& rank : manifest_.ranks) {
      Expect(rank.vocab_begin == end && rank.vocab_end > end, "the ranks' parts of the vocabulary of ", manifest_.vocab_size, " leave a gap at ",
             end);
      end = rank.vocab_end;
    }
    Expect(manifest_.ranks.empty() || end == manifest_.vocab_size, "the ranks have ", end, " ids of a vocabulary of ", manifest_.vocab_size);
  }

  void CheckKvCache() const {
    Expect(!manifest_.kv_groups.empty(), "the manifest has no KV groups");
    uint64_t end = 0;
    for (const KvLayer& layer : manifest_.kv_layers) {
      Expect(static_cast<size_t>(layer.group) < manifest_.kv_groups.size(), "a KV layer is in group ", layer.group, " of ",
             manifest_.kv_groups.size());
      Expect(layer.offset == end && layer.bytes <= manifest_.memory.kv_cache - end, "the KV layers do not tile the KV pool of ",
             manifest_.memory.kv_cache, " bytes");
      end += layer.bytes;
    }
    for (const StateEntry& state : manifest_.states) {
      Expect(state.offset == end && state.bytes <= manifest_.memory.kv_cache - end, "the KV layers and states do not tile the KV pool of ",
             manifest_.memory.kv_cache, " bytes");
      end += state.bytes;
    }
    Expect(end == manifest_.memory.kv_cache, "the KV layers and states take ", end, " bytes of a pool of ", manifest_.memory.kv_cache);
  }

  void CheckWeights() const {
    const uint64_t file_bytes = bundle_.weights.bytes().size();
    Expect(manifest_.memory.weights == file_bytes, "the memory plan has ", manifest_.memory.weights, " bytes of weights, the file ", file_bytes);
    for (const WeightEntry& weight : manifest_.weights) {
      Expect(weight.offset % kAlignment == 0 && weight.offset <= file_bytes && weight.bytes <= file_bytes - weight.offset, "weight ", weight.name,
             " of ", weight.bytes, " bytes at ", weight.offset, " in a file of ", file_bytes);
      Expect(!weight.shape.empty() && std::ranges::all_of(weight.shape, IsSide), "weight ", weight.name, " has shape ", weight.shape);
    }
  }

  void CheckBuckets() const {
    Expect(!manifest_.prefill_buckets.empty() && manifest_.batch_buckets.empty() == manifest_.embedding.has_value(), "the manifest lists no buckets");
    for (int32_t bucket : manifest_.prefill_buckets) CheckHasPlan(Phase::kContextEncoding, bucket);
    for (int32_t bucket : manifest_.batch_buckets) {
      CheckHasPlan(Phase::kTokenGeneration, bucket);
      if (manifest_.speculation > 0) CheckHasPlan(Phase::kSpeculation, int64_t{bucket} * (int64_t{manifest_.speculation} + 1));
    }
  }

  void CheckHasPlan(Phase phase, int64_t rows) const {
    const auto is_it = [&](const Plan& plan) { return plan.phase == phase && plan.rows == rows; };
    Expect(std::ranges::any_of(bundle_.plans, is_it), "there is no plan of ", Name(phase), " with ", rows, " rows");
  }

  void CheckPlan(const Plan& plan) const {
    Expect(plan.arena_bytes <= manifest_.memory.arena, "the plan of ", Name(plan.phase), " with ", plan.rows, " rows has an arena of ",
           plan.arena_bytes, " bytes, the memory plan ", manifest_.memory.arena);
    for (const Call& call : plan.calls) {
      for (const Operand& operand : call.operands) CheckOperand(plan, operand, call.label);
    }
    for (const Probe& probe : plan.probes) CheckOperand(plan, probe.operand, probe.name);
    if (manifest_.embedding) return CheckResult(plan, plan.logits, manifest_.embedding->dim, "embeddings");
    CheckResult(plan, plan.logits, manifest_.own_vocab(), "logits");
    CheckResult(plan, plan.ids, 1, "ids");
    CheckResult(plan, plan.logprobs, 1, "logprobs");
  }

  [[nodiscard]] uint64_t SpaceBytes(const Plan& plan, Space space) const {
    switch (space) {
      case Space::kNone:
        return 0;
      case Space::kArena:
        return plan.arena_bytes;
      case Space::kWeights:
        return bundle_.weights.bytes().size();
      case Space::kKvCache:
        return manifest_.memory.kv_cache;
    }
    return 0;
  }

  void CheckOperand(const Plan& plan, const Operand& operand, const std::string& label) const {
    if (operand.space == Space::kNone) return;
    if (IsQuantized(operand.dtype)) return CheckQuantized(operand, label);
    const uint64_t space_bytes = SpaceBytes(plan, operand.space);
    Expect(operand.offset <= space_bytes && operand.bytes <= space_bytes - operand.offset, label, ": operand at ", operand.offset, " of ",
           operand.bytes, " bytes leaves its space of ", space_bytes);
    Expect(IsSide(operand.rows) && IsSide(operand.cols) && IsSide(operand.stride) && operand.stride >= operand.cols, label, ": operand of ",
           operand.rows, " x ", operand.cols, " with stride ", operand.stride);
    Expect(Extent(operand) <= operand.bytes, label, ": operand of ", operand.rows, " x ", operand.cols, " with stride ", operand.stride,
           " does not fit in its ", operand.bytes, " bytes");
    // Column slices of arena values start anywhere in a row.
    const uint64_t alignment = operand.space == Space::kArena ? SizeOf(operand.dtype) : kAlignment;
    Expect(operand.offset % alignment == 0, label, ": operand at offset ", operand.offset, " is not aligned to ", alignment, " bytes");
  }

  // How many bytes it takes is for the device to check, which knows how kernels have it packed.
  void CheckQuantized(const Operand& operand, const std::string& label) const {
    const uint64_t file_bytes = bundle_.weights.bytes().size();
    Expect(operand.space == Space::kWeights, label, ": operand of type ", operand.dtype, " is no weight");
    Expect(operand.offset % kAlignment == 0 && operand.offset <= file_bytes && operand.bytes <= file_bytes - operand.offset, label, ": operand at ",
           operand.offset, " of ", operand.bytes, " bytes leaves the weights of ", file_bytes);
    Expect(IsSide(operand.rows) && IsSide(operand.cols) && operand.stride == operand.cols, label, ": operand of ", operand.rows, " x ", operand.cols,
           " with stride ", operand.stride);
  }

  void CheckResult(const Plan& plan, const Operand& operand, int64_t cols, const char* name) const {
    CheckOperand(plan, operand, name);
    Expect(operand.space == Space::kArena && operand.rows == plan.outputs && operand.cols >= cols, name, " of ", operand.rows, " x ", operand.cols,
           " in a plan of ", plan.outputs, " outputs; expected ", cols, " columns in the arena");
  }

  const Bundle& bundle_;
  const Manifest& manifest_;
  const std::string where_;
};

}  // namespace

void Validate(const Bundle& bundle) { Validator(bundle).Run(); }

}  // namespace intaglio::bundle
