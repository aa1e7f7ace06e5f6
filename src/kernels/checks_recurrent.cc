// Operand checks of the kernels of recurrent layers.
#include "kernels/checks.h"
#include "kernels/state_rows.h"

namespace intaglio::kernels {
namespace {

constexpr int64_t kMostEntries = 1 << 20, kMostHeads = 1 << 20;   // beyond any model; products of sizes stay far from overflow

const char* CheckState(const KernelCall& call, int64_t floats) noexcept {
  const int64_t entries = call.params.ints[state_params::kEntries];
  if (!IsMatrix(call[1]) || call[1].cols < floats) return "the state is not an f32 matrix with a row for an entry";
  if (entries < 1 || entries > kMostEntries || call[1].rows < entries) return "the state has no room for the entries of a slot";
  return nullptr;
}

// gated_delta_rule and ssm_scan: `gates_a_head` columns of operand 3 for every value head.
const char* CheckRecurrence(const KernelCall& call, int64_t gates_a_head) noexcept {
  using namespace recurrence_params;
  const auto& ints = call.params.ints;
  const int64_t key_heads = ints[kKeyHeads], value_heads = ints[kValueHeads], key_dim = ints[kKeyDim], value_dim = ints[kValueDim];
  if (key_heads < 1 || value_heads < 1 || value_heads > kMostHeads || value_heads % key_heads != 0)
    return "the value heads cannot share the key heads";
  const auto is_dim = [](int64_t dim) { return dim >= 1 && dim <= recurrence_limits::kMaxDim; };
  if (!is_dim(key_dim) || !is_dim(value_dim)) return "the size of a head is out of range";
  if (!IsMatrix(call[0]) || call[0].cols != value_heads * value_dim) return "the output is not an f32 matrix with a column for every value";
  if (!IsMatrix(call[2]) || call[2].rows != call[0].rows || call[2].cols != call[0].cols + 2 * key_heads * key_dim)
    return "the input is not an f32 matrix of keys, queries and values";
  if (!IsMatrix(call[3]) || call[3].rows != call[0].rows || call[3].cols != gates_a_head * value_heads)
    return "the gates are not those of the value heads";
  if (!IsRow(call[4], value_heads) || !IsRow(call[5], value_heads)) return "the weights of the gates are not one row of the value heads";
  const int64_t floats = RecurrenceTasksOfSequence(call) * ((key_dim + kKeyUnit - 1) / kKeyUnit * kKeyUnit) * kLanes;
  if (const char* problem = CheckState(call, floats)) return problem;
  return CheckStepRows(call, Domain::kRows);
}

}  // namespace

const char* CheckScaleColumns(const KernelCall& call) noexcept {
  if (const char* problem = CheckAlike(call)) return problem;
  if (!IsRow(call[2], call[0].cols)) return "the vector is not one row as wide as the output";
  return CheckDomain(call);
}

const char* CheckSigmoidGate(const KernelCall& call) noexcept {
  for (int i = 0; i < 3; ++i) {
    if (!IsMatrix(call[i]) || call[i].rows != call[0].rows) return "an operand is not an f32 matrix with the output's rows";
  }
  if (call[1].cols != call[0].cols) return "the input is not as wide as the output";
  if (call[2].cols != call[0].cols && call[2].cols != 1) return "the gate is neither as wide as the output nor one column";
  return CheckDomain(call);
}

const char* CheckCausalConv(const KernelCall& call) noexcept {
  if (!IsMatrix(call[0]) || !IsMatrix(call[2])) return "an operand is not an f32 matrix";
  if (call[2].rows != call[0].rows || call[2].cols != call[0].cols) return "the input is shaped unlike the output";
  if (!IsMatrix(call[3]) || call[3].rows > recurrence_limits::kMaxTaps || call[3].cols != call[0].cols)
    return "the weight is not an f32 matrix with a row for every tap";
  if (call[4].is_present() && !IsRow(call[4], call[0].cols)) return "the bias is not one row as wide as the output";
  if (const char* problem = CheckState(call, call[0].cols)) return problem;
  return CheckStepRows(call, Domain::kRows);
}

const char* CheckGatedDeltaRule(const KernelCall& call) noexcept { return CheckRecurrence(call, 2); }

const char* CheckSsmScan(const KernelCall& call) noexcept {
  if (const char* problem = CheckRecurrence(call, 1)) return problem;
  return IsRow(call[6], call.params.ints[recurrence_params::kValueHeads]) ? nullptr : "D is not one row of the value heads";
}

}  // namespace intaglio::kernels
