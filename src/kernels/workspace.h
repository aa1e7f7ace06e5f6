// Bytes of the shared workspace (operand W in params.h) that a call needs for up to `rows` live rows. Used by the lowering at export
// and checked by Kernel::check at load. Does not depend on the instruction set.
#pragma once
#include <cstdint>

#include "base/dtype.h"

namespace intaglio::kernels {

// Activations of matmul, packed for weights of `dtype`. 0 for one row of floats; quantised weights need theirs quantised.
[[nodiscard]] int64_t MatMulWorkspaceBytes(int64_t rows, int64_t k, DType dtype);
// Of which one row of a row tile takes so much.
[[nodiscard]] int64_t MatMulRowBytes(int64_t k, DType dtype);
// Partial results per (row, head, span) when few rows attend to a long context. 0 where a task walks all spans itself.
[[nodiscard]] int64_t AttentionWorkspaceBytes(int64_t rows, int64_t heads, int64_t kv_heads, int64_t v_dim, int64_t max_context);
[[nodiscard]] int64_t SampleWorkspaceBytes(int64_t outputs, int64_t vocab);
// Of a rank that has `cols` of a vocabulary that ranks share: the same W in all of its sampling calls.
[[nodiscard]] int64_t SampleRanksWorkspaceBytes(int64_t outputs, int64_t vocab, int64_t cols);
// Rows on their way in expert_exchange, of `rows` live ones with top_k experts each: no choice both leaves a rank and comes to it.
[[nodiscard]] int64_t ExpertExchangeWorkspaceBytes(int64_t rows, int64_t top_k, int64_t cols);

}  // namespace intaglio::kernels
