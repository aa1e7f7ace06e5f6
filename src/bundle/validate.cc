#include "bundle/validate.h"

#include <limits>

#include "base/fail.h"

namespace intaglio::bundle {
namespace {

constexpr uint64_t kAlignment = 64;
constexpr int64_t kLargestSide = int64_t{1} << 40;
constexpr uint64_t kNoFit = std::numeric_limits<uint64_t>::max();

// rows * cols * element size, or kNoFit.
uint64_t Product(uint64_t rows, uint64_t cols, DType dtype) {
  uint64_t elements = 0, bytes = 0;
  if (__builtin_mul_overflow(rows, cols, &elements) || __builtin_mul_overflow(elements, static_cast<uint64_t>(SizeOf(dtype)), &bytes)) return kNoFit;
  return bytes;
}

// Bytes from an operand's first element to the end of its last.
uint64_t Extent(const Operand& operand) {
  if (operand.space == Space::kWeights) return WeightBytes(operand.rows, operand.cols, operand.dtype);
  const uint64_t before_last = Product(static_cast<uint64_t>(operand.rows - 1), static_cast<uint64_t>(operand.stride), operand.dtype);
  const uint64_t last = Product(1, static_cast<uint64_t>(operand.cols), operand.dtype);
  return before_last == kNoFit ? kNoFit : before_last + last;
}

class Validator {
 public:
  explicit Validator(const Bundle& bundle) : bundle_(bundle), where_(bundle.path.string()) {}

  void Run() const {
    CheckManifest();
    for (const Plan& plan : bundle_.plans) {
      for (const Call& call : plan.calls) {
        for (const Operand& operand : call.operands) CheckOperand(plan, operand, call.label);
      }
      for (const Probe& probe : plan.probes) CheckOperand(plan, probe.operand, probe.name);
      CheckResult(plan, plan.logits, plan.outputs, bundle_.manifest.vocab_size, "logits");
      CheckResult(plan, plan.ids, plan.outputs, 1, "ids");
      CheckResult(plan, plan.logprobs, plan.outputs, 1, "logprobs");
    }
  }

 private:
  template <typename... Parts>
  void Expect(bool is_ok, const Parts&... message) const {
    Require(is_ok, ErrorCode::kDataLoss, where_, ": ", message..., ": run intaglio export again");
  }

  void CheckManifest() const {
    const Manifest& m = bundle_.manifest;
    Expect(m.tp_degree == 1 && m.ep_degree == 1, "is made for ", m.tp_degree * m.ep_degree, " ranks; this Intaglio runs one");
    Expect(m.memory.weights == bundle_.weights.bytes().size(), "the memory plan has ", m.memory.weights, " bytes of weights, the file ",
           bundle_.weights.bytes().size());
    Expect(m.max_context < kLargestSide && !m.kv_groups.empty(), "the manifest has no KV groups or an absurd context");
    uint64_t end = 0;
    for (const KvLayer& layer : m.kv_layers) {
      Expect(layer.group >= 0 && static_cast<size_t>(layer.group) < m.kv_groups.size(), "a KV layer is in group ", layer.group, " of ",
             m.kv_groups.size());
      Expect(layer.offset == end && layer.bytes <= m.memory.kv_cache - end, "the KV layers do not tile the KV pool of ", m.memory.kv_cache, " bytes");
      end += layer.bytes;
    }
    Expect(end == m.memory.kv_cache, "the KV layers take ", end, " bytes of a pool of ", m.memory.kv_cache);
    Expect(!m.prefill_buckets.empty() && !m.batch_buckets.empty(), "the manifest lists no buckets");
  }

  void CheckOperand(const Plan& plan, const Operand& operand, const std::string& label) const {
    if (operand.space == Space::kNone) return;
    const uint64_t space_bytes = operand.space == Space::kArena     ? plan.arena_bytes
                                 : operand.space == Space::kWeights ? bundle_.weights.bytes().size()
                                                                    : bundle_.manifest.memory.kv_cache;
    Expect(plan.arena_bytes <= bundle_.manifest.memory.arena, label, ": the plan's arena of ", plan.arena_bytes,
           " bytes is larger than the manifest's");
    Expect(operand.offset <= space_bytes && operand.bytes <= space_bytes - operand.offset, label, ": operand at ", operand.offset, " of ",
           operand.bytes, " bytes leaves its space of ", space_bytes);
    Expect(operand.rows >= 1 && operand.cols >= 1 && operand.rows < kLargestSide && operand.cols < kLargestSide && operand.stride >= operand.cols &&
               operand.stride < kLargestSide,
           label, ": operand of ", operand.rows, " x ", operand.cols, " with stride ", operand.stride);
    const uint64_t extent = Extent(operand);
    Expect(extent <= operand.bytes, label, ": operand of ", operand.rows, " x ", operand.cols, " does not fit in its ", operand.bytes, " bytes");
    Expect(operand.offset % SizeOf(operand.dtype) == 0 && (operand.space == Space::kArena || operand.offset % kAlignment == 0), label,
           ": operand at offset ", operand.offset, " is not aligned");
  }

  void CheckResult(const Plan& plan, const Operand& operand, int64_t rows, int64_t cols, const char* name) const {
    CheckOperand(plan, operand, name);
    Expect(operand.space == Space::kArena && operand.rows == rows && operand.cols >= cols, name, " of ", operand.rows, " x ", operand.cols,
           ", expected ", rows, " x ", cols);
  }

  const Bundle& bundle_;
  const std::string where_;
};

}  // namespace

uint64_t WeightBytes(int64_t rows, int64_t cols, DType dtype) {
  return Product((static_cast<uint64_t>(rows) + 15) / 16 * 16, (static_cast<uint64_t>(cols) + 1) / 2 * 2, dtype);
}

void Validate(const Bundle& bundle) { Validator(bundle).Run(); }

}  // namespace intaglio::bundle
