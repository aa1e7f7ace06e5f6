// Operand checks of the kernels of models that embed.
#include "kernels/checks.h"

namespace intaglio::kernels {

const char* CheckLayerNorm(const KernelCall& call) noexcept {
  if (const char* problem = CheckAlike(call)) return problem;
  if (!IsRow(call[2], call[0].cols) || !IsRow(call[3], call[0].cols)) return "the norm's weight or bias is not one row as wide as the input";
  return CheckDomain(call);
}

const char* CheckAddPosition(const KernelCall& call) noexcept {
  if (const char* problem = CheckAlike(call)) return problem;
  if (!IsMatrix(call[2]) || call[2].cols != call[0].cols) return "the table of positions is not as wide as the input";
  if (!IsRow(call[3], call[0].cols)) return "the constant is not one row as wide as the input";
  return CheckStepRows(call, Domain::kRows);
}

const char* CheckPool(const KernelCall& call) noexcept {
  if (!IsMatrix(call[0]) || !IsMatrix(call[1])) return "an operand is not an f32 matrix";
  if (call[1].cols != call[0].cols) return "the input is not as wide as the output";
  const int64_t mode = call.params.ints[pool_params::kMode];
  if (mode != 0 && mode != 1) return "the pooling mode is unknown";
  return CheckStepRows(call, Domain::kOutputs);
}

}  // namespace intaglio::kernels
